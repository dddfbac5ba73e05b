"""From runs to tables and figures."""
