# SPDX-License-Identifier: MIT
"""The laboratory's Asterisk configuration, made from Python data.

One function for each file returns its text. The product's own files are included as an
administrator includes them. Independent of how Asterisk is started, and of where the
service runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from tests.lab.ports import PhoneSlot

#: The names of all possible queue members, in the order of their phone slots.
AGENTS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")

#: The laboratory's own AstDB family: client number -> address of its phone.
ROUTE_FAMILY = "lab"


@attrs.frozen(kw_only=True)
class Queue:
    """One queue of queues.conf.

    `members` are names of agents, or values of ``member =>`` if they contain
    a slash. `options` holds further queues.conf lines, such as
    ``{"periodic-announce": "beep"}``.
    """

    name: str
    members: tuple[str, ...] = ()
    strategy: str = "linear"
    timeout_s: int = 15
    retry_s: int = 1
    wrapuptime_s: int = 0
    context: str | None = "callback-request"
    options: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ManagerUser:
    """One AMI user of manager.conf."""

    name: str
    secret: str
    read: str
    write: str


WITNESS = ManagerUser(name="witness", secret="lab-witness", read="all", write="all")

DEFAULT_QUEUES = (
    Queue(name="support", members=("alice", "bob")),
    Queue(name="sales", members=("carol",)),
    # No context of the product: key 1 leads to a place that the laboratory watches.
    Queue(name="plain", members=("dave",), context="lab-exit"),
)

_MODULES = """
    pbx_config
    res_timing_timerfd res_musiconhold res_agi res_manager_devicestate res_stasis
    res_sorcery_config res_sorcery_memory res_sorcery_astdb
    res_clialiases res_clioriginate res_crypto res_rtp_asterisk res_pjproject res_speech
    res_http_websocket
    res_pjsip res_pjsip_session res_pjsip_sdp_rtp res_pjsip_caller_id
    res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user
    res_pjsip_dtmf_info res_pjsip_empty_info res_pjsip_header_funcs res_pjsip_rfc3326
    res_pjsip_diversion res_pjsip_logger res_pjsip_nat res_pjsip_path
    res_pjsip_pubsub res_pjsip_authenticator_digest
    res_pjsip_outbound_authenticator_digest res_pjsip_registrar
    chan_pjsip
    res_parking
    bridge_simple bridge_native_rtp bridge_softmix bridge_holding
    bridge_builtin_features bridge_builtin_interval_features
    codec_ulaw codec_alaw codec_gsm codec_a_mu codec_resample
    format_wav format_pcm format_gsm format_sln
    app_queue app_dial app_playback app_stack app_verbose app_senddtmf app_record
    app_mixmonitor app_read app_exec app_userevent app_macro app_cdr app_db app_echo
    app_controlplayback app_milliwatt app_originate app_channelredirect app_softhangup
    app_while app_system app_chanisavail app_playtones app_waitforcond app_chanspy
    app_amd app_bridgewait app_directed_pickup app_sayunixtime app_forkcdr app_transfer
    res_cdrel_custom cdr_csv cdr_custom cdr_sqlite3_custom
    func_callerid func_cdr func_channel func_cut func_db func_devstate func_dialplan
    func_env func_global func_groupcount func_hangupcause func_lock func_logic
    func_math func_md5 func_pjsip_aor func_pjsip_contact func_pjsip_endpoint func_rand
    func_shell func_sprintf func_strings func_sysinfo func_timeout func_uri func_version
    func_base64 func_json func_periodic_hook func_talkdetect func_volume func_export
    func_blacklist func_extstate func_evalexten func_module
"""


#: Files that may be empty; Asterisk warns if they are missing.
EMPTY_FILES = (
    "acl.conf",
    "amd.conf",
    "ccss.conf",
    "cel.conf",
    "cli_aliases.conf",
    "features.conf",
    "pjproject.conf",
    "queuerules.conf",
    "udptl.conf",
)


def asterisk_conf(home: Path, modules: Path, system_name: str = "") -> str:
    """Set every directory of this instance, all below its own home."""
    directories = {
        "astetcdir": home / "etc",
        "astmoddir": modules,
        "astvarlibdir": home / "var",
        "astdbdir": home / "var",
        "astkeydir": home / "var",
        "astdatadir": home / "data",
        "astagidir": home / "data/agi-bin",
        "astspooldir": home / "spool",
        "astrundir": home / "run",
        "astlogdir": home / "log",
        "astsbindir": "/usr/sbin",
    }
    return _sections(
        {
            "directories": {key: str(value) for key, value in directories.items()},
            "options": {
                "verbose": "5",
                "debug": "0",
                "nocolor": "yes",
                "hideconnect": "yes",
                "defaultlanguage": "en",
                "documentation_language": "en_US",
                "maxfiles": "4096",
                "transmit_silence": "no",
                **({"systemname": system_name} if system_name else {}),
            },
            "files": {"astctlpermissions": "0600", "astctl": "asterisk.ctl"},
        }
    )


def modules_conf(available: Iterable[str]) -> str:
    """Load only the modules that the laboratory needs and this version has."""
    present = set(available)
    wanted = [f"{name}.so" for name in _MODULES.split()]
    loads = [f"load = {name}" for name in wanted if name in present]
    return "\n".join(["[modules]", "autoload = no", *loads, ""])


def logger_conf() -> str:
    """Log everything but debug to one file, with milliseconds; keep the queue log."""
    return _sections(
        {
            "general": {
                "dateformat": "%F %T.%3q",
                "queue_log": "yes",
                "appendhostname": "no",
            },
            "logfiles": {"full": "notice,warning,error,verbose(5),dtmf"},
        }
    )


def manager_conf(
    port: int,
    users: Iterable[ManagerUser],
    *,
    include: bool = False,
    tls: Mapping[str, str] | None = None,
) -> str:
    """Open AMI on the loopback address for these users and those in manager.d.

    `tls` holds the options that begin with "tls".
    """
    general = {
        "enabled": "yes",
        "webenabled": "no",
        "bindaddr": "127.0.0.1",
        "port": str(port),
        "allowmultiplelogin": "yes",
        "displayconnects": "no",
        **(tls or {}),
    }
    sections: dict[str, dict[str, str]] = {"general": general}
    for user in users:
        sections[user.name] = {
            "secret": user.secret,
            "deny": "0.0.0.0/0.0.0.0",
            "permit": "127.0.0.1/255.255.255.255",
            "read": user.read,
            "write": user.write,
            "writetimeout": "5000",
        }
    return _sections(sections) + '#include "manager.d/*.conf"\n' * include


def pjsip_conf(port: int, agents: Mapping[str, PhoneSlot]) -> str:
    """Describe the agents' phones and one trunk for everybody else.

    Both are at 127.0.0.x. Phones of agents only answer, so whatever sends a
    new INVITE is the trunk.
    """
    endpoint = {
        "type": "endpoint",
        "transport": "udp",
        "disallow": "all",
        "allow": "ulaw,alaw",
        "direct_media": "no",
        "rtp_symmetric": "no",
        # INFO when the phone offers no telephone-event in its SDP, RFC 4733 if it does.
        "dtmf_mode": "auto_info",
        "timers": "no",
        "send_pai": "yes",
        "send_connected_line": "no",
        "trust_id_inbound": "yes",
        "trust_id_outbound": "yes",
    }
    sections: dict[str, dict[str, str]] = {
        "global": {
            "type": "global",
            "user_agent": "lab",
            "endpoint_identifier_order": "ip,username",
        },
        # Asterisk gives up a phone that does not exist after 6.4 s, not 32.
        "system": {"type": "system", "timer_t1": "100", "timer_b": "6400"},
        "udp": {"type": "transport", "protocol": "udp", "bind": f"127.0.0.1:{port}"},
        "trunk": {**endpoint, "context": "inbound"},
        "trunk-identify": {
            "type": "identify",
            "endpoint": "trunk",
            "match": "127.0.0.0/24",
        },
    }
    text = _sections(sections)
    for agent, slot in agents.items():
        text += _sections({agent: {**endpoint, "context": "agents", "aors": agent}})
        contact = f"sip:{agent}@{slot}"
        text += _sections(
            {agent: {"type": "aor", "contact": contact, "qualify_frequency": "0"}}
        )
    return text


def rtp_conf(first: int, last: int) -> str:
    """Keep Asterisk's media inside this laboratory's ports."""
    return _sections(
        {
            "general": {
                "rtpstart": str(first),
                "rtpend": str(last),
                "strictrtp": "no",
                "icesupport": "no",
            }
        }
    )


def musiconhold_conf(directory: Path) -> str:
    """Play the laboratory's own tone to whoever waits."""
    return _sections({"default": {"mode": "files", "directory": str(directory)}})


def queues_conf(queues: Iterable[Queue]) -> str:
    """Write the queues with the options of the product's sample."""
    text = _sections({"general": {"persistentmembers": "no", "autofill": "yes"}})
    for queue in queues:
        options = {
            "strategy": queue.strategy,
            "timeout": str(queue.timeout_s),
            "retry": str(queue.retry_s),
            "wrapuptime": str(queue.wrapuptime_s),
            "setqueuevar": "yes",
            "setinterfacevar": "yes",
            "autofill": "yes",
            "ringinuse": "no",
            "joinempty": "yes",
            "leavewhenempty": "no",
            "musicclass": "default",
        }
        if queue.context is not None:
            options["context"] = queue.context
        text += _sections({queue.name: {**options, **queue.options}})
        text += "".join(f"member => {member_line(one)}\n" for one in queue.members)
    return text


def interface_of(member: str) -> str:
    """Return the interface of an agent, or of the value of a ``member =>`` line."""
    return member.partition(",")[0] if "/" in member else f"PJSIP/{member}"


def member_line(member: str) -> str:
    """Return the value of a ``member =>`` line."""
    if "/" in member:
        return member
    interface = interface_of(member)
    return f"{interface},0,{member.capitalize()},{interface}"


def indications_conf() -> str:
    """Define the tones of one country, which ringing, busy and congestion need."""
    return _sections(
        {
            "general": {"country": "us"},
            "us": {
                "description": "United States",
                "ringcadence": "2000,4000",
                "dial": "350+440",
                "busy": "480+620/500,0/500",
                "ring": "440+480/2000,0/4000",
                "congestion": "480+620/250,0/250",
            },
        }
    )


def parking_conf() -> str:
    """Define one parking lot."""
    return _sections(
        {
            "general": {},
            "default": {
                "parkext": "700",
                "parkpos": "701-720",
                "context": "parkedcalls",
                "comebacktoorigin": "no",
            },
        }
    )


def cdr_conf() -> str:
    """Write a CDR for every call, also for those that nobody answered."""
    return _sections(
        {
            "general": {"enable": "yes", "unanswered": "yes", "congestion": "yes"},
            "csv": {
                "usegmtime": "yes",
                "loguniqueid": "yes",
                "loguserfield": "yes",
                "accountlogs": "no",
            },
        }
    )


#: The columns of FreePBX's table ``cdr`` that Asterisk itself fills, each with the
#: property of the CDR that goes into it.
FREEPBX_CDR = {
    "calldate": "start",
    **{
        name: name
        for name in [
            "clid",
            "src",
            "dst",
            "dcontext",
            "channel",
            "dstchannel",
            "lastapp",
            "lastdata",
            "duration",
            "billsec",
            "disposition",
            "amaflags",
            "accountcode",
            "uniqueid",
            "userfield",
            "linkedid",
            "peeraccount",
            "sequence",
        ]
    },
}


def cdr_sqlite3_custom_conf() -> str:
    """Write each CDR into master.db as well, in a table like FreePBX's."""
    values = ",".join(f"'${{CDR({name})}}'" for name in FREEPBX_CDR.values())
    return _sections(
        {
            "master": {
                "table": "cdr",
                "columns": ", ".join(FREEPBX_CDR),
                "values": values,
            }
        }
    )


def cdr_custom_conf() -> str:
    """Write each CDR into a CSV file with these columns as well."""
    values = ",".join(
        f"${{CSV_QUOTE(${{CDR({name})}})}}" for name in FREEPBX_CDR.values()
    )
    return f"[mappings]\nfreepbx.csv => {values}\n"


def extensions_conf(
    queues: Iterable[Queue],
    *,
    included: Iterable[Path] = (),
    global_variables: Mapping[str, str] | None = None,
    extra: str = "",
) -> str:
    """Write the laboratory's dialplan, which includes the product's file."""
    parts = [
        # Variables of one test must not remain for the next.
        _sections(
            {
                "general": {
                    "static": "yes",
                    "writeprotect": "yes",
                    "clearglobalvars": "yes",
                }
            }
        ),
        _sections({"globals": dict(global_variables or {})}),
        "".join(f'#include "{path}"\n' for path in included),
        _inbound(queues),
        _AGENTS_CONTEXT + _agent_extensions(),
        _OUTBOUND,
        _LAB_CONTEXTS,
        extra,
    ]
    return "\n".join(parts)


def _inbound(queues: Iterable[Queue]) -> str:
    extensions = "".join(
        f"exten => {queue.name},1,Gosub(lab-arrival,s,1)\n"
        f" same => n,Queue({queue.name},,,,${{LAB_QUEUE_TIMEOUT}})\n"
        f" same => n,UserEvent(LabQueueLeft,Queue: {queue.name},"
        "Uniqueid: ${UNIQUEID},Status: ${QUEUESTATUS})\n"
        " same => n,Hangup()\n"
        for queue in queues
    )
    return f"[inbound]\n{extensions}"


# A caller's settings come as SIP headers, or as inherited variables on a Local channel.
_LAB_CONTEXTS = r"""
; The way from outside that the example recommends. Most tests take [inbound] itself, so
; that numbers come in as strangers write them.
[lab-filtered]
exten => _[a-zA-Z0-9].,1,Set(LAB_PLAIN=0-9A-Za-z+*#@:=%._/\x20\x2d\x3b)
 same => n,Set(CALLERID(num)=${FILTER(${LAB_PLAIN},${CALLERID(num)})})
 same => n,Goto(inbound,${EXTEN},1)

[lab-arrival]
exten => s,1,GotoIf($["${CHANNEL(channeltype)}" != "PJSIP"]?apply)
 same => n,Set(LAB_LANGUAGE=${PJSIP_HEADER(read,X-Language)})
 same => n,Set(LAB_QUEUE_TIMEOUT=${PJSIP_HEADER(read,X-Queue-Timeout)})
 same => n(apply),GotoIf($[${LEN(${LAB_LANGUAGE})} = 0]?answer)
 same => n,Set(CHANNEL(language)=${LAB_LANGUAGE})
 same => n(answer),Answer()
 same => n,Return()

; Where the queue `plain` sends a caller who presses 1.
[lab-exit]
exten => 1,1,UserEvent(LabExit,Queue: ${QUEUENAME},Position: ${QUEUEPOSITION})
 same => n,Hangup()

[lab]
exten => wait,1,Answer()
 same => n,Wait(3600)
exten => echo,1,Answer()
 same => n,Echo()
exten => tone,1,Answer()
 same => n,Milliwatt()
"""

_AGENTS_CONTEXT = "[agents]\n"

# A client's number exists only while its phone does.
_OUTBOUND_EXTENSION = """
exten => {pattern},1,Set(LAB_PHONE=${{DB({family}/${{EXTEN}})}})
 same => n,GotoIf($["${{LAB_PHONE}}" = ""]?nobody)
 same => n,Dial(PJSIP/trunk/sip:${{EXTEN}}@${{LAB_PHONE}})
 same => n,Hangup(${{HANGUPCAUSE}})
 same => n(nobody),Hangup(1)
"""
_OUTBOUND = "[outbound-routes]" + "".join(
    _OUTBOUND_EXTENSION.format(pattern=pattern, family=ROUTE_FAMILY)
    for pattern in ("_X.", "_+X.")
)


def routes() -> str:
    """Return the contexts of the agents' phones and of the way outside."""
    return f"{_AGENTS_CONTEXT}{_agent_extensions()}\n{_OUTBOUND}\n"


def _agent_extensions() -> str:
    return "".join(f"exten => {name},1,Dial(PJSIP/{name})\n" for name in AGENTS)


def _sections(sections: Mapping[str, Mapping[str, str]]) -> str:
    lines: list[str] = []
    for name, options in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {value}" for key, value in options.items()]
        lines.append("")
    return "\n".join(lines) + "\n"
