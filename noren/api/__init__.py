PREFIX = "/noren/v1"  # ours; /api/v1 and /api/v2 belong to the BentoCloud protocol
USER_HEADER = "x-noren-user"  # who asks, percent-encoded, as they say: nobody checks it
