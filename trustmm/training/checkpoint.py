"""Where a training keeps what it needs to continue after its process was killed."""

import logging
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch

from trustmm.store.files import naming, open_no_link, set_aside
from trustmm.store.identity import changes

log = logging.getLogger(__name__)


class Checkpoint(Protocol):
    """The place of one training of one job."""

    @property
    def before(self) -> Sequence[Mapping[str, str]]:
        """Other environments than this process's in which earlier epochs of the training were computed."""

    def load(self) -> Mapping[str, Any] | None:
        """What `save` was last given, tensors on the CPU; None if there is nothing that can be used."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep tensors and plain values, however nested, in place of what was kept before."""

    def continued(self) -> None:
        """The training goes on from what `load` gave."""

    def refuse(self, why: str) -> None:
        """What `load` gave cannot be used: put it out of the way."""

    def clear(self) -> None:
        """Forget: the training's result is safe elsewhere."""


class NoCheckpoint:
    """Keeps nothing."""

    before: Sequence[Mapping[str, str]] = ()

    def load(self) -> None:
        """Nothing."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Ignore it."""

    def continued(self) -> None:
        """It gave nothing."""

    def refuse(self, why: str) -> None:
        """It gave nothing."""

    def clear(self) -> None:
        """There is nothing to forget."""


class FileCheckpoint:
    """A file, written whole or not at all by one process at a time, and read without unpickling objects.

    Args:
        path: of the file.
        key: everything that the training depends on, as plain values; a file that holds another is not used.
        environment: of this process, kept with the state.
    """

    def __init__(
        self, path: Path, key: Mapping[str, Any], environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.path, self.key, self.environment = path, dict(key), dict(environment)
        self.before: list[Mapping[str, str]] = []
        self._loaded: list[Mapping[str, str]] = []
        self._partial = path.with_name(f"{path.name}.partial")  # one name: what kills leave behind does not pile up

    def load(self) -> Mapping[str, Any] | None:
        """What was saved under this key; a damaged or foreign file is named in a warning and ignored."""
        if not self.path.is_file():
            return None
        try:
            found = _read(self.path)
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
            set_aside(self.path, str(error).partition("\n")[0])
            return None
        if not (isinstance(found, dict) and all(isinstance(found.get(name), dict) for name in ("state", "key"))):
            set_aside(self.path, "unexpected content")
            return None
        if why := changes(found["key"], self.key):
            log.warning("ignored the checkpoint %s, which belongs to another job: %s", self.path, why)
            return None
        if why := changes(found.get("environment") or self.environment, self.environment):
            log.info("the checkpoint %s was made in another environment: %s", self.path, why)
        self._loaded = [*found.get("before", ()), found.get("environment") or self.environment]
        return found["state"]

    def continued(self) -> None:
        """See the protocol."""
        self.before += [one for one in self._loaded if one != self.environment and one not in self.before]

    def refuse(self, why: str) -> None:
        """See the protocol."""
        if self.path.is_file():
            set_aside(self.path, why)

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path):
            self._partial.unlink(missing_ok=True)
            with open_no_link(self._partial, "xb") as handle:
                facts = {"key": self.key, "environment": self.environment, "before": self.before}
                torch.save(facts | {"state": dict(state)}, handle)
            self._partial.replace(self.path)

    def clear(self) -> None:
        """Remove the file."""
        self._partial.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()  # torch does not compare the check sums
    if broken is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {broken}")
    return torch.load(path, map_location="cpu", weights_only=True)
