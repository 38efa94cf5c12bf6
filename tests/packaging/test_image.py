# SPDX-License-Identifier: MIT
"""The container image runs, with a read-only root and as nobody special.

PostgreSQL's own image can not be had here: a real server takes its place, to which the
compose file's settings, passwords and first script are given.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
import sqlalchemy as sa
import yaml

from fastagi.command import cli
from tests.asterisk.callback import CLIENT, hung_up_by_asterisk, pause, unpause
from tests.docs.blocks import blocks
from tests.lab.asterisk import Asterisk
from tests.lab.databases import PostgreSQL
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.phones import response
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.trees import SHARED, lab_home
from tests.packaging.container import Container, Image, Mount, unpack

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = ROOT / "packaging/image/compose"
#: What the image is made from.
_INPUTS: Final = (
    "dialplan",
    "docs",
    "etc",
    "fastagi",
    "packaging/image",
    "packaging/release",
    "sounds",
    "constraints.txt",
    "setup.cfg",
)


def _key() -> str:
    told = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--deduplicate", *_INPUTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    digest = hashlib.sha256()
    for name in told.stdout.splitlines():
        if (ROOT / name).is_file():
            digest.update(f"{name}\0".encode() + (ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="module")
def archive() -> Iterator[Path]:
    """The image's file, built if it is not there; one run of the tests at a time."""
    home = lab_home() / "image"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _built(home)


def _built(home: Path) -> Path:
    to = home / f"built-{_key()}"
    if not to.exists():
        for old in home.glob("built-*"):
            shutil.rmtree(old, ignore_errors=True)
        for old in home.glob("unpacked-*"):
            shutil.rmtree(old, ignore_errors=True)
        new = home / "building"
        shutil.rmtree(new, ignore_errors=True)
        done = subprocess.run(
            [
                *(sys.executable, str(ROOT / "packaging/image/build.py")),
                *(f"--to={new}", f"--cache={home}", "--base-days=10000"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        new.rename(to)
    (file,) = to.glob("callback-queue-*-image-*.tar")
    return file


@pytest.fixture(scope="module")
def image(archive: Path) -> Image:
    """The image, unpacked."""
    if os.geteuid() != 0:
        pytest.fail("a container is run as root here: run these tests as root")
    return unpack(archive, lab_home() / "image" / f"unpacked-{_key()}")


# -- the file


def test_file_is_an_image_for_docker_and_for_podman(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())

        def read(name: str) -> Any:
            return json.load(tar.extractfile(name))  # type: ignore[arg-type]

        assert read("oci-layout") == {"imageLayoutVersion": "1.0.0"}
        (described,) = read("index.json")["manifests"]
        manifest = read("blobs/" + described["digest"].replace(":", "/"))
        (saved,) = read("manifest.json")
    # Both descriptions are of the same image.
    paths = [
        one["digest"].replace("sha256:", "blobs/sha256/") for one in manifest["layers"]
    ]
    assert saved["Layers"] == paths
    assert saved["Config"].endswith(manifest["config"]["digest"].partition(":")[2])
    (tag,) = saved["RepoTags"]
    assert tag == described["annotations"]["org.opencontainers.image.ref.name"]
    assert re.fullmatch(r"localhost/callback-queue:[\w.]+", tag)
    assert {*paths, saved["Config"]} <= names


def test_image_has_no_way_to_root_and_nothing_of_the_machine_that_built_it(
    image: Image,
) -> None:
    assert image.user > (1000, 1000)
    assert image.config["Healthcheck"]["Test"][0] == "CMD"
    privileged = [
        str(path)
        for path in image.root.rglob("*")
        if not path.is_symlink() and path.is_file() and path.stat().st_mode & 0o6000
    ]
    assert privileged == []
    writable = [
        path
        for path in image.root.rglob("*")
        if not path.is_symlink() and path.stat().st_uid == image.user[0]
    ]
    assert {str(path.relative_to(image.root)) for path in writable} == {
        "run/callback-queue",
        "var/lib/callback-queue",
    }
    for name in ("etc/hostname", "etc/resolv.conf", "etc/machine-id", "etc/apt"):
        left = image.root / name
        assert not left.exists() or not any(
            path.is_file() and "sources" in path.name for path in left.rglob("*")
        )


def _command_exists(words: list[str]) -> bool:
    """Return whether these words are a command of ours, with its options."""
    command: click.Command = cli.main
    while isinstance(command, click.Group) and words:
        if words[0] not in command.commands:
            return False
        command = command.commands[words[0]]
        words = words[1:]
    known = {name for one in command.params for name in one.opts}
    return {word for word in words if word.startswith("--")} <= known


def test_commands_of_the_docs_fit_the_compose_file_and_the_program() -> None:
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    checked = []
    for block in blocks("docs/container.md", "sh"):
        for line in block.text.splitlines():
            words = shlex.split(line.partition(" | ")[0], comments=True)
            if words[:2] != ["docker", "compose"]:
                continue
            action, *rest = words[2:]
            rest = [word for word in rest if word not in {"--rm", "--signal", "HUP"}]
            if action in {"exec", "run"}:
                service, *command = rest
                assert service in services, line
                if command[0] == "callback-queue":
                    command = command[1:]
                if service != "postgres":
                    assert _command_exists(command), line
                checked.append(line)
            elif action in {"logs", "stop", "restart", "kill"}:
                assert set(rest) <= set(services), line
                checked.append(line)
            else:
                assert action in {"up", "ps", "down"}, line
    assert len(checked) > 8


# -- at work


class Compose:
    """The compose file, with the variables of an ``.env`` file filled in."""

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        self.home = home
        self.variables = variables
        contents = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
        self.services: dict[str, Any] = contents["services"]
        self.volumes: dict[str, Any] = contents["volumes"]
        shutil.copytree(COMPOSE / "settings", home / "settings")
        # As a user's umask makes them.
        (home / "settings").chmod(0o755)

    def text(self, value: object) -> str:
        """Fill in variables as compose does."""

        def fill(found: re.Match[str]) -> str:
            name, kind, default = found.groups()
            if kind == ":?":
                return self.variables[name]
            return self.variables.get(name) or default or ""

        return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", fill, str(value))

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables of a container."""
        given = self.services[service].get("environment", {})
        return {name: self.text(value) for name, value in given.items()}

    def container(self, image: Image, service: str) -> Container:
        """Return the container of one of our two services."""
        given = self.services[service]
        assert given["read_only"] is True
        assert given["cap_drop"] == ["ALL"]
        assert given["security_opt"] == ["no-new-privileges:true"]
        assert given["network_mode"] == "host"
        assert given["tmpfs"] == ["/tmp:mode=1777,size=64m"]
        mounts = []
        for line in given["volumes"]:
            source, target, *options = line.split(":")
            if source in self.volumes:
                place = self.home / "volumes" / source
                if not place.exists():
                    # A new volume gets the owner of the image's directory.
                    place.mkdir(parents=True)
                    os.chown(place, *image.user)
                    place.chmod(
                        (image.root / target.lstrip("/")).stat().st_mode & 0o777
                    )
            else:
                place = self.home / source
            mounts.append(Mount(place, target, read_only=options == ["ro"]))
        return Container(
            image,
            self.home / "containers" / service,
            command=given.get("command"),
            environment=self.environment(service),
            mounts=mounts,
        )

    def settings(self, changes: dict[str, Any]) -> None:
        """Change the settings of the service, as an administrator does."""
        path = self.home / "settings/callback-queue.yaml"
        contents = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**contents, **changes}))


@pytest.fixture(scope="module")
def asterisk() -> Iterator[Asterisk]:
    """A real Asterisk 22."""
    try:
        with Asterisk(22) as started:
            yield started
    except LabError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def lab(asterisk: Asterisk) -> Iterator[Lab]:
    """The laboratory around it."""
    asterisk.reset()
    made = Lab(asterisk)
    yield made
    made.close()


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that both the machine and the containers see."""
    made = SHARED / f"callback-queue-compose-{os.getpid()}"
    made.mkdir(mode=0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def _create_database(server: PostgreSQL, compose: Compose) -> None:
    """Create the database as PostgreSQL's image does, and run the first script."""
    given = compose.environment("postgres")
    environment = {
        **server.programs.environment(),
        **given,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSWORD": given["POSTGRES_PASSWORD"],
    }
    script = server.home / "postgresql-init.sh"
    shutil.copy(COMPOSE / "postgresql-init.sh", script)
    for command in (
        ("createdb", f"--username={given['POSTGRES_USER']}", given["POSTGRES_DB"]),
        ("sh", str(script)),
    ):
        subprocess.run(
            server.programs.command(*command),
            env=environment,
            cwd=SHARED,
            check=True,
        )


def test_caller_is_called_back_by_the_containers_of_the_compose_file(
    image: Image, lab: Lab, home: Path
) -> None:
    asterisk = lab.asterisk
    with PostgreSQL() as server:
        password = sa.make_url(server.url("x")).password
        assert password is not None
        compose = Compose(
            home,
            {
                "CALLBACK_QUEUE_VERSION": "any",
                "AMI_SECRET": asterisk.service_user.secret,
                "POSTGRES_PASSWORD": password,
                "WEB_PASSWORD": 'it\'s "a" $secret',
                "POSTGRES_PORT": str(server.port),
            },
        )
        compose.settings(
            {
                "ami": {"port": asterisk.ports.ami},
                "fastagi": {"port": asterisk.ports.agi},
                "number_plan": {},
                "defaults": {
                    "outbound_channel": "Local/{number}@outbound-routes/n",
                    "success_duration": "1s",
                    "sounds": {"member_alert": "beep"},
                },
            }
        )
        _create_database(server, compose)
        with compose.container(image, "service") as service:
            service.wait_for("connected to Asterisk")
            service.wait_until_healthy()
            _check_confinement(service)
            _check_callback(lab, service)
            with compose.container(image, "web") as web:
                _check_web(web, server, compose.variables["WEB_PASSWORD"])
                # The settings are those of a directory, which a reload reads again.
                compose.settings({"queues": {"support": {}, "sales": {}}})
                assert web.stop() == 0
            assert service.stop() == 0, service.said


def _check_confinement(service: Container) -> None:
    """Nothing of the container can be changed, and its user is nobody special."""
    uid, gid = service.image.user
    assert service.execute("id").stdout.startswith(
        f"uid={uid}(callback-queue) gid={gid}"
    )
    for path in ("/new", "/etc/callback-queue/new", "/usr/lib/callback-queue/new"):
        done = service.execute("touch", path)
        assert "Read-only file system" in done.stderr, path
    status = Path(f"/proc/{service.pid}/status").read_text()
    facts = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.M))
    assert facts["Uid"].split() == [str(uid)] * 4
    assert facts["NoNewPrivs"] == "1"
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[kind], 16) == 0, kind


def _check_callback(lab: Lab, service: Container) -> None:
    alice = lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    pause(lab, "support")
    caller = lab.caller("support", Press("1"), number=CLIENT)
    hung_up_by_asterisk(caller)
    unpause(lab, "support")
    client.wait_for(response(200, "INVITE", sent=True))
    alice.wait_to_hear(client)

    service.wait_for("task 1: completed")
    done = service.execute("callback-queue", "tasks", "list", "--all", "--json")
    (task,) = json.loads(done.stdout)
    assert (task["number"], task["status"]) == (CLIENT, "completed")


def _check_web(web: Container, server: PostgreSQL, password: str) -> None:
    def answers(*words: str) -> subprocess.CompletedProcess[str]:
        return web.execute("callback-queue-health", "web", *words)

    web.wait_for(" listens on ")
    assert answers("--alive").returncode == 0
    wait_until(lambda: answers().returncode == 0, 10, "the link to the service")
    assert "/login/link/" in web.said
    # Its user may read the tasks, and no more.
    driver = sa.make_url(server.url("callback")).set(
        drivername="postgresql+psycopg", username="web", password=password
    )
    with sa.create_engine(driver, poolclass=sa.NullPool).connect() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM task").scalar() == 1
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            conn.exec_driver_sql("DELETE FROM task")


def test_health_check_tells_what_is_wrong(image: Image, lab: Lab, home: Path) -> None:
    for name in ("settings", "run", "data"):
        (home / name).mkdir()
        os.chown(home / name, *image.user)
    settings = {
        "ami": {"port": lab.asterisk.ports.ami},
        "fastagi": {"port": lab.asterisk.ports.agi},
        "history": {"enabled": False},
        "queues": {"support": {"outbound_channel": "PJSIP/{number}@trunk"}},
    }
    (home / "settings/callback-queue.yaml").write_text(yaml.safe_dump(settings))
    with Container(
        image,
        home / "container",
        environment={"CALLBACK_QUEUE_AMI_SECRET": "wrong"},
        mounts=[
            Mount(home / "settings", "/etc/callback-queue", read_only=True),
            Mount(home / "run", "/run/callback-queue"),
            Mount(home / "data", "/var/lib/callback-queue"),
        ],
    ) as service:
        service.wait_for("Authentication failed")
        assert service.execute("callback-queue-health", "--alive").returncode == 0
        refused = service.execute(*image.health)
        assert refused.returncode == 1
        assert "secret" in refused.stderr
        # SQLite in a volume.
        assert (home / "data/callback-queue.db").exists()
        service.send(signal.SIGHUP)
        assert service.stop() == 0
        assert "reload" in service.said
