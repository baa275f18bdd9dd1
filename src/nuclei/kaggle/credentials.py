"""Signing in to Kaggle, with any of the credentials that its client knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nuclei.errors import UserError
from nuclei.kaggle.api_errors import TOKEN


def signed_in() -> Any:
    """Import the client and sign in with whatever credentials it finds.

    Raises:
        UserError: there are none, or Kaggle does not accept the token.
    """
    from kaggle.api.kaggle_api_extended import KaggleApi

    client = KaggleApi()
    try:
        client.authenticate()
    except SystemExit:
        raise UserError(f"{_credentials_fault(client)}; {TOKEN}") from None
    return client


def _credentials_fault(client: Any) -> str:
    from kagglesdk import get_access_token_from_env

    _, source = get_access_token_from_env()
    if source:
        return (
            f"Kaggle does not accept the token in {source.replace('access_token', '~/.kaggle/access_token')}"
        )
    if Path(client.config).exists():
        return f"{client.config} holds no username and key"
    return "no Kaggle credentials were found"
