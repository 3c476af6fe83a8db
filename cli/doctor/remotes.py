"""Servers that answer for a base model: the client is there, and they answer it."""

from collections.abc import Iterable, Mapping

from cli.doctor.findings import Finding, failed, ok, reason_of
from core.settings import RemoteSettings, mask_url

_TIMEOUT_SECONDS = 8.0


def check_remotes(remotes: Mapping[str, RemoteSettings]) -> list[Finding]:
    """Whether each one can be asked, and knows the model that it is to be asked for.

    Args:
        remotes: of the settings, by the name that the base has here.
    """
    if not remotes:
        return []
    try:
        import openai
    except ImportError:
        return [
            failed(
                "remote models",
                f"{_named(remotes)} cannot be asked: the client of generation.remotes is missing",
                "pip install 'perroquet[remote]', from a checkout: .venv/bin/pip install -e "
                "'.[remote]' -c constraints.txt",
            )
        ]
    findings = []
    for name, remote in remotes.items():
        check, shown = f"remote model {name}", mask_url(remote.url)
        client = openai.OpenAI(
            base_url=remote.url,
            api_key=remote.api_key.get_secret_value() or "none",
            timeout=_TIMEOUT_SECONDS,
            max_retries=0,
        )
        try:
            # The client takes what it gets: an id may be anything, whatever its types say.
            named: list[object] = [model.id for model in client.models.list()]
            known = [name_there for name_there in named if isinstance(name_there, str)]
        except openai.APIStatusError as exc:
            fix = f"Correct url and api_key of generation.remotes.{name}."
            findings.append(failed(check, f"{shown} answers {exc.status_code}", fix))
        except (AttributeError, TypeError):
            # What the client makes of a page or of other JSON than was asked for.
            fix = f"Correct generation.remotes.{name}.url; it ends with /v1, mostly."
            findings.append(failed(check, f"{shown} does not answer as such a server does", fix))
        except (openai.OpenAIError, ValueError) as exc:
            fix = f"Start it, or correct generation.remotes.{name}.url; it ends with /v1, mostly."
            findings.append(failed(check, f"{shown} cannot be asked: {reason_of(exc)}", fix))
        else:
            findings.append(_judge(check, shown, remote.model or name, known))
        finally:
            client.close()
    return findings


def _judge(check: str, shown: str, wanted: str, known: list[str]) -> Finding:
    if wanted in known:
        return ok(check, f"{shown} knows {wanted}")
    return failed(
        check,
        f"{shown} knows no “{wanted}”, but {_named(known) or 'nothing'}",
        "Set model of that remote to its name there.",
    )


def _named(names: Iterable[str]) -> str:
    return ", ".join(names)
