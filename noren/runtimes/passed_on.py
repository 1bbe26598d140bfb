"""What a replica sees of the control plane's environment: what a program needs to run, and no secret."""

from noren.machine import own_environment

_NAMES = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PREFIXES = ("LC_", "UV_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
# Where a container engine finds its configuration, its storage and its server.
ENGINE_PREFIXES = (
    "BUILDAH_",
    "CONTAINER",
    "DOCKER_",
    "PODMAN_",
    "REGISTRY_AUTH_FILE",
    "STORAGE_",
    "XDG_",
    "DBUS_SESSION",
)


def passed_on(*more: str) -> dict[str, str]:
    """The variables that are passed on; `more` are further prefixes of names."""
    return {
        name: value for name, value in own_environment().items() if name in _NAMES or name.startswith(_PREFIXES + more)
    }


def for_a_bento() -> dict[str, str]:
    """The same, with what every Bento is to have."""
    return passed_on() | BENTO


BENTO = {"BENTOML_DO_NOT_TRACK": "True", "PYTHONUNBUFFERED": "1"}
