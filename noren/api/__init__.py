PREFIX = "/noren/v1"  # ours; /api/v1 and /api/v2 belong to the BentoCloud protocol
