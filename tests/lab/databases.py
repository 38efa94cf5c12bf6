# SPDX-License-Identifier: MIT
"""Real servers of PostgreSQL and MariaDB, each with its own directory and port.

Owns the files, the processes, and empty databases for tests; independent of their
contents. A server ends with the test process that started it. It does not wait for the
disk, as nothing in it outlives a test run, unless that is what is measured.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from tests.lab.closing import Starting
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.ports import HeldPort
from tests.lab.processes import LabProcess, pauses
from tests.lab.trees import NOBODY, SHARED, find_server

_START_DEADLINE_S = 30.0
_STOP_DEADLINE_S = 10.0
_MAKING_DEADLINE_S = 120.0
_USER = "callback"
#: A directory that both sides of a chroot see, and that need not be in memory.
_ON_DISK = Path("/tmp")


class DatabaseServer(Starting):
    """One server on 127.0.0.1.

    Use as a context manager, or call :meth:`start` and :meth:`close`.
    """

    #: The server's program.
    program: str
    #: SQLAlchemy's name of the engine, with the driver that the tests use.
    driver: str

    def __init__(self, directory: Path = SHARED) -> None:
        self.programs, self._path = find_server(self.program)
        self._held = HeldPort()
        self.port = self._held.number
        self._password = secrets.token_hex(8)
        self.home = Path(
            tempfile.mkdtemp(prefix=f"callback-queue-{self.program}-", dir=directory)
        )
        # A directory of the server's user, below the home, which belongs to root.
        self.data = self.home / "data"
        self.data.mkdir(mode=0o700)
        self.home.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(self.data, NOBODY, NOBODY)
        self._process: LabProcess | None = None
        self._made = False

    # -- start and stop

    def start(self) -> None:
        """Start and wait until it answers; its databases stay as they were.

        Raises:
            LabError: it ended; the text holds what it said.
            DeadlinePassed: it does not answer in time.
        """
        if self.running:
            raise LabError(f"this {self.program} runs already")
        if not self._made:
            self._make()
        self._process = process = LabProcess(
            self.programs,
            self._server(),
            output=self.home / "output",
            cwd=SHARED,
            as_root=False,
        )
        for _ in pauses(_START_DEADLINE_S):
            if not process.running:
                raise LabError(
                    f"{self.program} ended with {process.exit_code}:\n"
                    f"{process.text()[-4000:]}"
                )
            with suppress(sa.exc.OperationalError), self._administration() as conn:
                conn.exec_driver_sql("SELECT 1")
                self._made = True
                return
        raise DeadlinePassed(
            f"{self.program} does not answer after {_START_DEADLINE_S} s:\n"
            f"{process.text()[-4000:]}"
        )

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.running

    def stop(self) -> None:
        """Stop it fast, as an administrator does: it does not wait for its clients."""
        if self._process is not None:
            self._process.signal(self.stop_signal)
            self._process.wait(_STOP_DEADLINE_S)
            self._process = None

    def kill(self) -> None:
        """Kill all its processes without warning, and wait until they are gone.

        A process that outlives PostgreSQL's first one for a moment serves its client to
        the end, and the server can not start again meanwhile.
        """
        if self._process is None:
            return
        with ExitStack() as stack:
            ends = []
            # It begins no other processes while they are counted.
            self._process.signal(signal.SIGSTOP)
            with suppress(LabError):
                for pid in self._pids():
                    with suppress(ProcessLookupError):
                        ends.append(os.pidfd_open(pid))
                        stack.callback(os.close, ends[-1])
            for end in ends:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(end, signal.SIGKILL)
            self._process.kill()
            for end in ends:
                if not select.select([end], [], [], _STOP_DEADLINE_S)[0]:
                    raise DeadlinePassed(f"{self.program} was killed and still runs")
        self._process = None

    def freeze(self) -> None:
        """Freeze all its processes (SIGSTOP); connections stay open."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server continue."""
        for pid in self._pids():
            # A process that is already awake may end before the others wake.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        if self._process is None:
            raise LabError(f"this {self.program} does not run")
        pids = [self._process.pid]
        # The list grows during the loop: grandchildren are added, too.
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                pids += [int(child) for child in children.split()]
        return pids

    def close(self) -> None:
        """Kill it and remove all its files."""
        self.kill()
        self._held.release()
        shutil.rmtree(self.home, ignore_errors=True)

    # -- its databases

    @contextmanager
    def database(self) -> Iterator[str]:
        """Create an empty database, yield its URL, and drop it."""
        name = f"test_{secrets.token_hex(8)}"
        with self._administration() as conn:
            conn.exec_driver_sql(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            with self._administration() as conn:
                conn.exec_driver_sql(self._drop(name))

    def url(self, database: str) -> str:
        """Return the URL of a database for the product's settings."""
        return self._url(database).render_as_string(hide_password=False)

    def _url(self, database: str) -> sa.URL:
        return sa.URL.create(
            self.driver.partition("+")[0],
            username=_USER,
            password=self._password,
            host="127.0.0.1",
            port=self.port,
            database=database,
        )

    @contextmanager
    def _administration(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(
            self._url(self.first_database).set(drivername=self.driver),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
            connect_args={"connect_timeout": 5},
        )
        with engine.connect() as conn:
            yield conn

    def _run(self, *argv: str) -> None:
        """Run a program of the server to its end, as the server's user."""
        done = subprocess.run(
            self.programs.command(*argv, as_root=False),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.programs.environment(),
            cwd=SHARED,
            timeout=_MAKING_DEADLINE_S,
            check=False,
        )
        if done.returncode:
            raise LabError(f"{argv[0]} failed:\n{done.stdout[-4000:]}")

    def _file(self, name: str, text: str) -> Path:
        """Write a file that only the server's user may read."""
        path = self.home / name
        path.touch(mode=0o600)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.write_text(text)
        return path

    #: The signal for a stop that ends all sessions.
    stop_signal: signal.Signals
    #: A database that always exists.
    first_database: str

    @abstractmethod
    def _make(self) -> None:
        """Create the server's own files."""

    @abstractmethod
    def _server(self) -> Sequence[str]:
        """Return the command line of the server."""

    @abstractmethod
    def _drop(self, database: str) -> str:
        """Return the statement that drops a database, ending its sessions if needed."""


class PostgreSQL(DatabaseServer):
    """A PostgreSQL server."""

    program = "postgres"
    driver = "postgresql+psycopg"
    stop_signal = signal.SIGINT
    first_database = "postgres"

    def __init__(self, shared_buffers: str = "16MB", *, on_disk: bool = False) -> None:
        """Prepare.

        Args:
            shared_buffers: the server's setting.
            on_disk: whether a COMMIT waits for the disk, as in production.
        """
        super().__init__(_ON_DISK if on_disk else SHARED)
        self._shared_buffers = shared_buffers
        self._syncs = "on" if on_disk else "off"

    @contextmanager
    def copy(self, url: str) -> Iterator[str]:
        """Copy a database in use, yield the name of the copy, and drop the copy.

        The database's sessions are ended for that.
        """
        name = sa.make_url(url).database
        copy = f"copy_{secrets.token_hex(8)}"
        with self._administration() as conn:
            self._close_to_sessions(conn, f"{name}")
            conn.exec_driver_sql(f"CREATE DATABASE {copy} TEMPLATE {name}")
            conn.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        try:
            yield copy
        finally:
            with self._administration() as conn:
                conn.exec_driver_sql(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")

    def set_back(self, url: str, copy: str) -> None:
        """Replace a database in use by a copy; its sessions are ended."""
        name = sa.make_url(url).database
        with self._administration() as conn:
            self._close_to_sessions(conn, f"{name}")
            conn.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
            conn.exec_driver_sql(f"ALTER DATABASE {copy} RENAME TO {name}")

    @staticmethod
    def _close_to_sessions(conn: sa.Connection, name: str) -> None:
        conn.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        conn.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE datname = '{name}'"
        )

    def _make(self) -> None:
        password = self._file("password", self._password)
        self._run(
            str(self._path.with_name("initdb")),
            *("--pgdata", str(self.data), "--username", _USER),
            *("--pwfile", str(password), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--no-locale", "--wal-segsize", "1"),
            "--no-sync",
        )

    def _server(self) -> Sequence[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.data,
            "max_connections": 50,
            "shared_buffers": self._shared_buffers,
            "fsync": self._syncs,
            "full_page_writes": self._syncs,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._path), "-D", str(self.data), *options]

    def _drop(self, database: str) -> str:
        return f"DROP DATABASE {database} WITH (FORCE)"


class MariaDB(DatabaseServer):
    """A MariaDB server."""

    program = "mariadbd"
    driver = "mysql+pymysql"
    stop_signal = signal.SIGTERM
    first_database = "mysql"

    def _make(self) -> None:
        self._run(
            *("/usr/bin/mariadb-install-db", "--no-defaults", "--skip-test-db"),
            *("--auth-root-authentication-method=normal", f"--datadir={self.data}"),
            *self._storage(),
        )
        self._file(
            "first.sql",
            f"CREATE USER {_USER}@'127.0.0.1' IDENTIFIED BY '{self._password}';\n"
            f"GRANT ALL ON *.* TO {_USER}@'127.0.0.1';\n",
        )

    def _server(self) -> Sequence[str]:
        first = self.home / "first.sql"
        once = [f"--init-file={first}"] if not self._made else []
        return [
            *(str(self._path), "--no-defaults", f"--datadir={self.data}"),
            *("--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"),
            *(f"--socket={self.data}/socket", f"--pid-file={self.data}/pid"),
            *self._storage(),
            *once,
        ]

    @staticmethod
    def _storage() -> Sequence[str]:
        return (
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-log-file-size=4M",
            "--innodb-buffer-pool-size=16M",
            "--innodb-doublewrite=0",
        )

    def _drop(self, database: str) -> str:
        return f"DROP DATABASE {database}"
