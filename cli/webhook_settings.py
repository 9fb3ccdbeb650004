"""The webhook's settings, checked before a service starts. Its secret stands in no argument and in no log."""

from cli.failures import Refused
from cli.settings import Settings


def webhook_secret_of(settings: Settings) -> str:
    """The secret itself, or the one in the file that is named; "" without either."""
    if settings.webhook_secret_file is None:
        return settings.webhook_secret
    try:
        return settings.webhook_secret_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = f"cannot be read ({type(error).__name__}): name a file that holds the secret"
        raise Refused(f"setting webhook_secret_file (ABCTL_WEBHOOK_SECRET_FILE): {why}") from error


def check_webhook(settings: Settings) -> None:
    """BadWebhook, or Refused, with the setting's name where the webhook cannot be told anything."""
    if not settings.webhook_url:
        return
    if settings.webhook_secret and settings.webhook_secret_file is not None:
        raise Refused("settings webhook_secret and webhook_secret_file are both given: keep one of them")
    from router.webhook import webhook_of

    webhook_of(settings.webhook_url, webhook_secret_of(settings))
