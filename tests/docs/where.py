# SPDX-License-Identifier: MIT
"""Where each block of the documentation is tried, or why it can not be.

These are the only lists: a block that is in none of them fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Pages whose commands are run beside a real Asterisk, one after the other.
ON_ASTERISK: Final = (
    *("docs/operation.md", "docs/operators.md", "docs/chosen-times.md"),
    *("docs/numbers.md", "docs/privacy.md", "docs/reports.md", "docs/quickstart.md"),
)
_MACHINE: Final = "tests/docs/test_machine.py"
_COMMANDS: Final = "tests/asterisk/test_docs.py::test_commands_of_the_docs_work"
_LINES: Final = (
    "tests/asterisk/test_docs.py::"
    "test_asterisk_takes_the_lines_of_the_docs_without_a_word"
)
_WEB: Final = "tests/web/test_administration.py::test_commands_of_the_docs_work"
_SETTINGS: Final = "tests/docs/test_settings.py"
_SITE: Final = "tests/docs/test_site.py::test_diagrams_are_drawn"

#: The test that tries the blocks of a page in a language; "*": of each page.
TRIED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("*", "yaml"): (_SETTINGS,),
    ("*", "ini"): (_LINES,),
    ("*", "mermaid"): (_SITE,),
    **{(page, "sh"): (_COMMANDS,) for page in ON_ASTERISK},
    **{
        (f"docs/{page}.md", "sh"): (_MACHINE,)
        for page in (
            *("install", "update", "uninstall", "second-service", "tls", "backup"),
            *("history", "postgresql"),
        )
    },
    ("README.md", "sh"): (_MACHINE,),
    ("docs/commands.md", "sh"): (
        "tests/unit/test_docs_of_commands.py::test_command_of_the_docs_exists",
    ),
    ("docs/quickstart.md", "sh"): (_MACHINE, _COMMANDS),
    ("docs/reports.md", "sh"): (_MACHINE, _COMMANDS),
    ("docs/web.md", "sh"): (_MACHINE, _WEB),
    ("docs/console.md", "sh"): (_WEB,),
    ("docs/metrics.md", "sh"): (_WEB,),
    ("docs/api.md", "sh"): (
        "tests/web/test_api_docs.py::test_the_examples_of_the_api_work",
        _WEB,
    ),
    ("docs/freepbx.md", "sh"): (
        "tests/freepbx/test_docs.py::"
        "test_commands_of_the_docs_install_service_and_module",
    ),
    ("docs/web-form.md", "sh"): (_WEB,),
    ("docs/web-form.md", "python"): (
        "tests/web/test_api_docs.py::test_the_web_form_asks_for_a_callback",
    ),
    ("docs/web-form.md", "html"): (
        "tests/web/test_api_docs.py::test_the_web_form_asks_for_a_callback",
    ),
    ("docs/container.md", "sh"): (
        "tests/packaging/test_image.py::"
        "test_commands_of_the_docs_fit_the_compose_file_and_the_program",
    ),
    ("docs/debian.md", "sh"): ("tests/packaging/test_debian_package.py",),
    ("docs/releases.md", "sh"): ("tests/packaging/test_release.py",),
    ("docs/setup.md", "sh"): (
        "tests/setup/test_command.py::test_commands_of_the_docs_work",
    ),
    ("docs/internal-api.md", "sh"): (
        "tests/process/test_internal_api_doc.py::test_examples_work",
    ),
    ("docs/webhooks.md", "sh"): (
        "tests/web/signals/test_webhook_docs.py::"
        "test_signature_is_verified_as_the_docs_say",
        "tests/web/signals/test_commands.py::test_commands_of_the_docs_work",
    ),
    ("docs/webhooks.md", "python"): (
        "tests/web/signals/test_webhook_docs.py::"
        "test_signature_is_verified_as_the_docs_say",
    ),
    ("docs/webhooks.md", "json"): (
        "tests/web/signals/test_webhook_docs.py::"
        "test_example_of_a_message_fits_its_schema",
    ),
    ("docs/api.md", "json"): (
        "tests/docs/test_blocks.py::test_example_of_an_error_of_the_api_is_one",
    ),
    ("docs/reports.md", "sql"): (
        "tests/docs/test_blocks.py::test_queries_of_the_reports_find_calls",
    ),
}

#: Blocks that are not tried: the first words of their first line, and the reason.
NOT_TRIED: Final[Mapping[str, str]] = {
    "make demo": "takes two minutes; tests/lab/demo.py is the program itself",
    "make console": "runs until Ctrl-C; tests/browser uses the same pages",
    "make test": "runs this test",
    "GRANT SELECT ON asteriskcdrdb": "needs the database of a FreePBX",
    "server {": "the tests install no nginx",
    "<VirtualHost": "the tests install no Apache",
    "    RequestHeader set": "the tests install no Apache",
}
