"""Which adapter serves which type of runtime: another one is a file, and a line here."""

from collections.abc import Callable

from agent.adapter import Adapter
from agent.comfyui.adapter import ComfyUI
from agent.sdwebui.adapter import SdWebui
from agent.settings import Settings, SettingsError

ADAPTERS: dict[str, Callable[[Settings], Adapter]] = {
    "sdwebui": SdWebui,
    "comfyui": ComfyUI,
}


def adapter(settings: Settings) -> Adapter:
    """Return the adapter for the runtime's type.

    Raises:
        SettingsError: There is none.
    """
    try:
        make = ADAPTERS[settings.runtime_type]
    except KeyError:
        raise SettingsError(f"RUNTIME_TYPE: must be one of {', '.join(ADAPTERS)}") from None
    return make(settings)
