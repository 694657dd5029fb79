"""Ages as kubectl prints them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["age_of", "human_duration", "since"]


def human_duration(seconds: float) -> str:
    """Return an age as kubectl prints it (k8s.io/apimachinery/pkg/util/duration HumanDuration)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{whole % 60}s" if whole % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y" + (f"{days % 365}d" if years < 8 and days % 365 else "")


def since(stamp: str) -> str:
    """Return how long ago a moment of RFC 3339 was."""
    try:
        moment = datetime.datetime.fromisoformat(stamp)
    except ValueError:
        return "<invalid>"
    return human_duration(time.time() - moment.timestamp())


def age_of(obj: Mapping[str, Any]) -> str:
    """Return the age of an object by its creationTimestamp."""
    stamp = obj["metadata"].get("creationTimestamp")
    return since(stamp) if stamp else "<unknown>"
