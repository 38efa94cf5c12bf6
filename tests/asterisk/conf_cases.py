# SPDX-License-Identifier: MIT
"""Small configuration files that are easily parsed differently from Asterisk.

Each case has files with names relative to Asterisk's directory; `NAME` is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NAME: Final = "case.conf"

_PLAIN = "[general]\nx = 1\n[support]\nstrategy = rrmemory\n"

#: Longer than a line that Asterisk reads at once.
_LONG = "y = " + "z" * 8200 + "\n"
_EXACT = "y = " + "z" * (8190 - 4) + "\n"

CASES: Final[Mapping[str, Mapping[str, str | bytes]]] = {
    "plain": {NAME: _PLAIN},
    "empty": {NAME: ""},
    "only comments": {NAME: "; nothing\n\n;-- really\n--;\n"},
    # -- options
    "arrows and blanks": {NAME: "[a]\nx => 1\n y=2\nz  =  3  \nw =>\nv==4\nu = > 5\n"},
    "line without =": {NAME: "[a]\nnonsense\n= 1\nx = 1\n"},
    "+= adds": {NAME: "[a]\nx = 1\nx += 2\ny += 3\nz = 4\nz+=5\nX += 6\n"},
    "+= adds to a template's": {NAME: "[t](!)\nx = a,b\n[a](t)\nx += ,c\n"},
    "+= of several": {NAME: "[a]\nx = 1\nx = 2\nx = 1\nx += 3\nq = \nq += 4\n"},
    "+=>": {NAME: "[a]\nx = 1\nx +=> 2\ny +=> 3\n"},
    "option before any section": {NAME: "x = 1\n[a]\ny = 2\n"},
    "words before any section": {NAME: "hello\n[a]\ny = 2\n"},
    "byte order mark": {NAME: b"\xef\xbb\xbf[a]\nx = 1\n"},
    "byte order mark, comment": {NAME: b"\xef\xbb\xbf; head\n[a]\nx = 1\n"},
    "byte order mark of an included file": {
        NAME: "[a]\n#include case.d/*.conf\n",
        "case.d/one.conf": b"\xef\xbb\xbf[b]\nx = 1\n",
        "case.d/two.conf": b"\xef\xbb\xbf[c]\nx = 1\n",
    },
    "byte order mark below": {NAME: b"\n\xef\xbb\xbf[a]\nx = 1\n"},
    "Latin-1": {NAME: b"[J\xf6rg]\r\nx = M\xfcller\r\n"},
    "UTF-8": {NAME: "[Jörg]\nx = Müller\n"},
    "semicolons": {NAME: "[a]\nx = 1\\;2;3\ny = \\\\;4\nz = a\\;b\\;c ; d\n"},
    "backslash first": {NAME: "[a]\n\\#x = 1\n\\[y = 2\n\\=z = 3\n\\+=4\n"},
    "backslash and blank": {NAME: "[a]\nx = 1\n\\ y = 2\nz = 3\n"},
    "quotes are kept": {NAME: "[a]\nx = \"1\"\ny = '2'\n"},
    "too long": {NAME: f"[a]\nx = 1\n{_LONG}z = 3\n"},
    "as long as can be": {NAME: f"[a]\nx = 1\n{_EXACT}z = 3\nw = 4\n"},
    "NUL": {NAME: b"[a]\nx = 1\0 2\ny = 3\n"},
    "no line feed at the end": {NAME: "[a]\nx = 1"},
    # -- comments
    "block": {NAME: "[a]\n;--\nx = no\n--;\ny = 1\n;-- z = no --; w = 1\n"},
    "block in a block": {NAME: "[a]\n;-- ;-- --;\nx = no\n--; y = 1\n"},
    "block in a line": {
        NAME: "[a]\nx = 1 ;-- no --; 2\ny = 1 ;-- no\nz = no\n --; 3\n"
    },
    "no block": {NAME: "[a]\n;--- no\nx = 1\n;---- no ----;\ny = 1\n"},
    "end of a block alone": {NAME: "[a]\nx = 1 --; 2\ny = 3\n;--\nz = 4\n"},
    "block without an end": {NAME: "[a]\nx = 1\n;--\ny = 2\n"},
    "comment in a block": {NAME: "[a]\n;--\n; x --;\ny = 1\n"},
    # -- sections
    "no closing ]": {NAME: "[a]\nx = 1\n[b\ny = 2\n"},
    "no closing )": {NAME: "[t](!)\n[b](t\ny = 2\n"},
    "words behind ]": {NAME: "[a] words\nx = 1\n[b];c\ny = 2\n"},
    "blank before (": {NAME: "[t](!)\nx = 1\n[a] (t)\ny = 2\n"},
    "blank in a name": {NAME: "[ a ]\nx = 1\n"},
    "no name": {NAME: "[]\nx = 1\n[b]\ny = 2\n"},
    "long name": {NAME: f"[{'n' * 100}]\nx = 1\n"},
    "twice": {NAME: "[a]\nx = 1\n[b]\n[A]\nx = 2\n"},
    # -- templates
    "templates": {NAME: "[s](!)\nx = 1\n[t](!,s)\nx = 2\n[a](t)\ny = 3\n[b](s,t)\n"},
    "blank behind a comma": {
        NAME: "[cb](!)\nx = 1\n[ring](!)\ny = 2\n[support](cb, ring)\nz = 3\n"
    },
    "template below its user": {NAME: "[a](t)\nx = 1\n[t](!)\ny = 2\n"},
    "template of another case": {NAME: "[T](!)\nx = 1\n[a](t)\n"},
    "section as a template": {NAME: "[t]\nx = 1\n[a](t)\ny = 2\n"},
    "no template between brackets": {NAME: "[t](!)\nx = 1\n[a]()\ny = 2\n"},
    "template changed later": {NAME: "[t](!)\nx = 1\n[a](t)\n[t](!)\nx = 2\n[b](t)\n"},
    # -- (+)
    "continued": {NAME: "[a]\nx = 1\n[b]\ny = 2\n[A](+)\nz = 3\n"},
    "continued before it exists": {
        NAME: "[a]\nx = 1\n[support](+)\ny = 2\n[b]\nz = 3\n"
    },
    "template continued": {NAME: "[t](!)\nx = 1\n[t](+)\ny = 2\n[a](t)\n"},
    "template continued by a filter": {
        NAME: "[t](!)\nx = 1\n[t](+TEMPLATES=include)\ny = 2\n[a](t)\n"
    },
    "continued by a filter": {
        NAME: "[a]\nx = 1\n[a]\nx = 2\n[a](+x=2)\ny = 3\n[a](+x=1)\nz = 4\n"
    },
    "continued with a template": {NAME: "[t](!)\ny = 2\n[a]\nx = 1\n[a](+,t)\nz = 3\n"},
    "template and then +": {NAME: "[t](!)\ny = 2\n[a]\nx = 1\n[a](t,+)\nz = 3\n"},
    "made a template later": {NAME: "[a]\nx = 1\n[a](+,!)\ny = 2\n[b](a)\n"},
    # -- includes
    "included": {
        NAME: '[a]\n#include "case.d/one.conf"\nz = 3\n',
        "case.d/one.conf": "x = 1\n",
    },
    "options behind included sections": {
        NAME: "[a]\nx = 1\n#include case.d/one.conf\nz = 3\n",
        "case.d/one.conf": "y = 2\n[b]\ny = 3\n",
    },
    "sections included before any": {
        NAME: "#include case.d/one.conf\nz = 3\n",
        "case.d/one.conf": "[b]\ny = 3\n",
    },
    "pattern": {
        NAME: "[a]\n#include <case.d/*.conf> ; all\n",
        "case.d/two.conf": "y = 2\n",
        "case.d/one.conf": "x = 1\n[b]\n",
        "case.d/.hidden.conf": "h = 1\n",
    },
    "braces": {
        NAME: "[a]\n#include case.d/{two,one}.conf\n",
        "case.d/one.conf": "x = 1\n",
        "case.d/two.conf": "y = 2\n",
    },
    "pattern of letters": {
        NAME: "[a]\n#include case.d/[^t]*.conf\n",
        "case.d/one.conf": "x = 1\n",
        "case.d/two.conf": "y = 2\n",
    },
    "pattern that fits nothing": {NAME: '[a]\nx = 1\n#include "case.d/*.none"\n[b]\n'},
    "tried pattern that fits nothing": {
        NAME: '[a]\n#tryinclude "case.d/*.none"\nx=1\n'
    },
    "file that is not there": {NAME: "[a]\nx = 1\n#include gone.conf\n"},
    "tried file that is not there": {NAME: "[a]\n#tryinclude gone.conf\nx = 1\n"},
    "directory in place of a file": {
        NAME: "[a]\nx = 1\n#include case.d\n",
        "case.d/one.conf": "x = 1\n",
    },
    "single quotes": {NAME: "[a]\n#include 'case.d/one.conf'\n", "case.d/one.conf": ""},
    "half a quote": {NAME: '[a]\n#include "case.d/one.conf\n', "case.d/one.conf": ""},
    "words behind an include": {
        NAME: '[a]\n#include "case.d/one.conf" please\n',
        "case.d/one.conf": "x = 1\n",
    },
    "blank behind #": {NAME: "[a]\n# include gone.conf\nx = 1\n#unknown y\n#include\n"},
    "exec that is off": {NAME: "[a]\n#exec /bin/echo y=2\nx = 1\n"},
    "include in capitals": {
        NAME: "[a]\n#INCLUDE case.d/one.conf\n",
        "case.d/one.conf": "x = 1\n",
    },
    "mistake in an included file": {
        NAME: "[600]\nx = 1\n#include case.d/one.conf\ny = 2\n[601]\nz = 3\n",
        "case.d/one.conf": "[600](+)\na = 1\n[602](+)\nb = 2\n[601](+)\nc = 3\n",
    },
    "mistake in the first file of a pattern": {
        NAME: "[600]\n#include case.d/*.conf\ny = 2\n",
        "case.d/one.conf": "a = 1\n[602](+)\nb = 2\n",
        "case.d/two.conf": "c = 3\n",
    },
    "comment from one file of a pattern to the next": {
        NAME: "[a]\n#include case.d/*.conf\nx = 1\n",
        "case.d/one.conf": "y = 1\n;--\n",
        "case.d/two.conf": "z = 1\n--;\nw = 1\n",
    },
    "section from one file of a pattern to the next": {
        NAME: "[a]\n#include case.d/*.conf\nx = 1\n",
        "case.d/one.conf": "[b]\ny = 1\n",
        "case.d/two.conf": "z = 1\n",
    },
    "file that includes itself": {NAME: f"[a]\nx = 1\n#include {NAME}\ny = 2\n"},
    "files with mistakes many times": {
        NAME: "[a]\n" + "#include case.d/one.conf\n" * 11 + "x = 1\n",
        "case.d/one.conf": "y = 1\n[gone](+)\n",
    },
    "included file includes nothing": {
        NAME: "[a]\n#include case.d/one.conf\nx = 1\n",
        "case.d/one.conf": "y = 1\n#include gone.conf\nz = 1\n",
    },
    "templates in another file": {
        NAME: "#include case.d/one.conf\n[a](t)\nx = 1\n",
        "case.d/one.conf": "[t](!)\ny = 1\n",
    },
}
