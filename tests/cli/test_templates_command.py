"""The list of prepared studies."""

from pathlib import Path

import pytest

from trustmm.cli.templates import main, templates


def test_every_template_is_listed_with_question_size_and_command(project: Path) -> None:
    folder = project / "multirun_templates"
    found = list(templates(folder))
    assert [template.name for template in found] == sorted(path.stem for path in folder.glob("*.yaml"))
    assert all(template.question.count("?") for template in found)
    assert all("job" in template.size for template in found)
    assert all(
        f"--config-dir pkg://trustmm.multirun_templates --config-name {template.name}" in template.command
        for template in found
    )


def test_the_command_prints_three_lines_for_each(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    main()
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3 * len(list((project / "multirun_templates").glob("*.yaml")))
