"""Several carriers as one. Knows of each what every carrier can do."""

from dataclasses import replace

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection

from fastapi_memsession.carriers import Credential, TokenCarrier


class CompositeCarrier:
    """Several carriers at once: each gets the token, and any of them may bring it.

    Args:
        carriers: in the order in which they are asked.
    """

    def __init__(self, *carriers: TokenCarrier) -> None:
        self.carriers = carriers
        self.ambient = any(carrier.ambient for carrier in carriers)
        self.vary = tuple(name for carrier in carriers for name in carrier.vary)

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The names that stand before a token that is offered as a subprotocol."""
        known = [getattr(carrier, "subprotocols", ()) for carrier in self.carriers]
        return tuple(name for names in known for name in names)

    @property
    def security_schemes(self) -> dict[str, dict[str, str]]:
        """What OpenAPI says of those that it knows."""
        known = [getattr(carrier, "security_schemes", {}) for carrier in self.carriers]
        return {name: scheme for schemes in known for name, scheme in schemes.items()}

    def extract(self, connection: HTTPConnection) -> Credential | None:
        """Return the first credential, with the tokens of others that differ.

        In a browser the tabs share cookies, but not what each keeps for a header.
        """
        found: Credential | None = None
        for carrier in self.carriers:
            credential = carrier.extract(connection)
            if found is None:
                found = credential
            elif credential is not None and credential.token != found.token:
                found = replace(found, others=(*found.others, credential.token))
        return found

    def inject(self, headers: MutableHeaders, token: str, *, max_age: int) -> None:
        """Let every carrier put the token into the headers."""
        for carrier in self.carriers:
            carrier.inject(headers, token, max_age=max_age)

    def clear(self, headers: MutableHeaders) -> None:
        """Let every carrier make the client forget."""
        for carrier in self.carriers:
            carrier.clear(headers)
