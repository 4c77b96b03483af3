"""What is said of predictions, wherever they go."""

from __future__ import annotations

from typing import Any

from raypipe.fit.evaluate.tally import Tally, text_of


def scores_of(tally: Tally, summary: dict[str, Any], lines: list[str]) -> dict[str, Any] | None:
    """Add the scores, if they are asked for, to what is said."""
    if tally.scores is None:
        return None
    scores = tally.scores.result()
    summary["evaluation"] = {name: v for name, v in scores.items() if name != "report_text"}
    lines += text_of(scores)
    return scores


def said(place: str, summary: dict[str, Any], lines: list[str]) -> None:
    """Add where a page is to what is said."""
    summary["report"] = place
    lines.append(f"report: {place}")


def status_text(summary: dict[str, Any]) -> list[str]:
    """Return a line for each reason why images have no label."""
    status = summary.get("status", {})
    return [f"  without a label: {n} × {name}" for name, n in status.items() if name != "ok"]
