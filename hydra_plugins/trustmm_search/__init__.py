"""Hydra finds the options of plugins: the ``conf`` folder of every package that `trustmm.store.plugins` lists."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from trustmm.store.plugins import conf_folders


class PluginOptions(SearchPathPlugin):
    """Appends the folders, so that a plugin adds options and never replaces one of trustmm's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Hydra's hook."""
        for folder in conf_folders():
            search_path.append("trustmm-plugin", f"file://{folder}")
