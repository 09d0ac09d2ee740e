"""Validate crates with roc-validator, offline: each argument is SEVERITY:PROFILE:FOLDER, each line of JSON its issues.

Runs in the validator's own environment, never in that of the tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate.rocrate import ROCrate
from rocrate_validator import services
from rocrate_validator.models import ValidationSettings
from urllib3.response import HTTPResponse

HERE = Path(__file__).parent


class Shelf(HTTPAdapter):
    """Answers with the texts that are here in place of those at their addresses."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self.texts = texts

    def send(self, request: requests.PreparedRequest, *rest: Any, **more: Any) -> requests.Response:
        body = BytesIO(self.texts[request.url or ""].encode())
        kind = {"Content-Type": "application/ld+json"}
        raw = HTTPResponse(body=body, status=200, headers=kind, preload_content=False, request_url=request.url)
        return self.build_response(request, raw)


def seed(cache: str, context: Path) -> None:
    """Put the contexts that crates name where the validator would keep what it has fetched."""
    texts = {
        "https://w3id.org/ro/crate/1.1/context": context.read_text("utf-8"),
        "https://w3id.org/ro/crate/1.3/context": files("rocrate").joinpath("data/ro-crate.jsonld").read_text("utf-8"),
        "https://w3id.org/ro/terms/workflow-run/context": (HERE / "workflow-run.json").read_text("utf-8"),
    }
    with CachedSession(cache_name=cache, expire_after=-1, backend="sqlite") as session:
        session.mount("https://", Shelf(texts))
        for address in texts:
            session.get(address, headers={"Accept": "application/ld+json, application/json"})


def issues(severity: str, profile: str, folder: str, cache: str) -> list[str]:
    """What the validator finds; `rocrate`, the library that others read crates with, must read it too."""
    ROCrate(folder)
    settings = ValidationSettings(
        rocrate_uri=folder, profile_identifier=profile, requirement_severity=severity, offline=True, cache_path=cache
    )
    result = services.validate(settings)
    found = result.get_issues()
    return [f"{each.check.identifier} {each.severity.name}: {each.message} ({each.violatingEntity})" for each in found]


if __name__ == "__main__":
    cache, context, *wanted = sys.argv[1:]
    seed(cache, Path(context))
    for one in wanted:
        severity, profile, folder = one.split(":", 2)
        print(json.dumps(issues(severity, profile, folder, cache)))
