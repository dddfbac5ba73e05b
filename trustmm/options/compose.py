"""The configuration of a job from the words of a command line, without running one."""

from collections.abc import Mapping, Sequence

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trustmm.options.config import config_folder, register
from trustmm.options.explain import explain


def compose_job(words: Sequence[str], name: str = "config") -> tuple[DictConfig, Mapping[str, str]]:
    """The configuration without Hydra's node, and the option chosen in each group.

    Args:
        words: overrides, such as ``backbone=mgcn``.
        name: name of the YAML file to start from.

    Raises: ValueError for an unknown key or option; the message names the closest ones.
    """
    register()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
            config = compose(name, overrides=list(words), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, list(words))) from error
    choices = {str(group): str(choice) for group, choice in config.hydra.runtime.choices.items()}
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), choices
