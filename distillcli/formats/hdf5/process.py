"""A process of its own for the HDF5 library.

Files may come from anywhere, and a few bytes in the right place make the library crash, or run
without end. It must not take the user's run with it: it works in a forked process, which it may
bring down, and which the system stops when it takes more time or memory than a file is worth.
"""

import gc
import os
import pickle
import resource
import signal
import socket
import struct
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from distillcli.address_space import address_space
from distillcli.errors import DistillError, FormatError
from distillcli.formats.elements import Array

SECONDS = 1.5  # of computing, for one question about a small file
BYTES_PER_SECOND = 16 << 20  # of a large file that this time grows by
MOST_SECONDS = 120.0
MEMORY = 160 << 20  # beside what the process begins with

HARMFUL = "the file is damaged, or made to do harm; write it again"
CRAMPED = f"the limit on memory leaves little for it: raise it; if it fails then too, {HARMFUL}"
_HEAD = struct.Struct("<cq")  # kind of an answer, bytes of it
_ANSWER, _ERROR, _VALUES = b"a", b"e", b"v"

# What the process does: (method, arguments) -> an answer, or an array whose bytes are the answer.
Service = Callable[[str, tuple[Any, ...]], Any]


class _There(RuntimeError):
    """A bug that showed in the process: what it is, and where."""

    def __str__(self) -> str:
        return str(self.args[0])


def allowance(size: int) -> tuple[float, int]:
    """Seconds and bytes that a question about a file of this size may take."""
    return min(MOST_SECONDS, SECONDS + size / BYTES_PER_SECOND), MEMORY + size // 4


class Process:
    """A forked process that answers questions, one at a time, from any thread."""

    def __init__(self, service: Callable[[], Service]) -> None:
        """Start it.

        Args:
            service: called in the new process.
        """
        ours, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._socket = ours
        self._pid: int | None = _forked(lambda: _serve(theirs, service()))
        theirs.close()

    @property
    def runs(self) -> bool:
        """Whether it is there to answer."""
        return self._pid is not None

    def ask(self, where: str, limits: tuple[float, int], method: str, *arguments: Any) -> Any:
        """An answer.

        Args:
            where: the file in question, for errors.
            limits: seconds of computing and bytes of memory that it may take.

        Raises:
            FormatError: the process did not survive the question. What the method raises.
        """
        with self._lock:
            return self._asked(where, (limits, method, arguments), None)

    def ask_into(
        self, out: Array, where: str, limits: tuple[float, int], method: str, *arguments: Any
    ) -> None:
        """Let the answer's values fill a C-ordered array of their type and size."""
        with self._lock:
            self._asked(where, (limits, method, arguments), out)

    def close(self) -> None:
        """End the process; a second time does nothing."""
        with self._lock:
            self._waited()

    def _asked(self, where: str, question: Any, out: Array | None) -> Any:
        if self._pid is None:
            raise FormatError(where, "the HDF5 library has failed on it", HARMFUL)
        try:
            _send(self._socket, _ANSWER, pickle.dumps(question))
            kind, size = _HEAD.unpack(_received(self._socket, bytearray(_HEAD.size)))
            if kind == _VALUES and out is not None:
                return _received(self._socket, out.reshape(-1).view(np.uint8).data)
            answer = pickle.loads(_received(self._socket, bytearray(size)))
        except (EOFError, OSError):
            raise FormatError(where, self._death(), CRAMPED if _cramped() else HARMFUL) from None
        except BaseException:  # an interrupt in the middle: no later answer could be trusted
            self._kill()
            raise
        if isinstance(answer, _There):
            raise answer from RuntimeError(answer.args[1])
        if kind == _ERROR:
            raise answer
        return answer

    def _death(self) -> str:
        """What has become of the process."""
        code = self._waited()
        if code == -signal.SIGPROF:
            return "keeps the HDF5 library busy without end"
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return f"makes the HDF5 library crash ({how})"

    def _kill(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._waited()

    def _waited(self) -> int:
        """The exit code of the process, which is then no longer there; 0 where none is known."""
        self._socket.close()
        pid, self._pid = self._pid, None
        try:
            return 0 if pid is None else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:  # whoever embeds us waits for all children
            return 0


def _forked(work: Callable[[], None]) -> int:
    with warnings.catch_warnings():
        # It is said to be unsafe beside threads, because their locks stay locked. Those that are
        # needed here, of h5py and of the allocator, are taken care of by their owners.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def _serve(connection: socket.socket, service: Service) -> NoReturn:
    """Answer until nobody asks."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    for number in (signal.SIGTERM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    gc.disable()  # nothing of the parent's is finalised here
    connection = _alone_with(connection)
    while True:
        try:
            _, size = _HEAD.unpack(_received(connection, bytearray(_HEAD.size)))
        except (EOFError, OSError):
            os._exit(0)
        limits, method, arguments = pickle.loads(_received(connection, bytearray(size)))
        _send(connection, *_answered(service, limits, method, arguments))


def _alone_with(connection: socket.socket) -> socket.socket:
    """Hold no file of the parent's open, and say nothing on its streams."""
    os.dup2(connection.fileno(), 3)
    connection.detach()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return socket.socket(fileno=3)


def _answered(
    service: Service, limits: tuple[float, int], method: str, arguments: tuple[Any, ...]
) -> tuple[bytes, Any]:
    seconds, memory = limits
    try:
        _limit_memory(memory)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = service(method, arguments)
        if isinstance(answer, np.ndarray):
            return _VALUES, answer.reshape(-1).view(np.uint8).data
        return _ANSWER, pickle.dumps(answer)
    except DistillError as error:
        return _ERROR, pickle.dumps(error)
    except MemoryError:
        problem = "takes more memory to look at than a file of its size should"
        return _ERROR, pickle.dumps(FormatError(str(arguments[0]), problem, HARMFUL))
    except Exception as error:  # a mistake of ours, which the parent tells as such
        told = f"{type(error).__name__}: {error}"
        return _ERROR, pickle.dumps(_There(told, traceback.format_exc()))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _cramped() -> bool:
    """Whether a limit of the user's leaves less than the library may take: then it may crash on any
    file."""
    limit, taken = resource.getrlimit(resource.RLIMIT_AS)[0], address_space()
    return limit != resource.RLIM_INFINITY and taken is not None and limit - taken < MEMORY


def _limit_memory(more: int) -> None:
    """Let the address space grow by no more than this; without /proc there is no limit."""
    taken = address_space()
    if taken is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = taken + more
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _send(connection: socket.socket, kind: bytes, data: Any) -> None:
    connection.sendall(_HEAD.pack(kind, len(data)))
    connection.sendall(data)


def _received(connection: socket.socket, buffer: Any) -> Any:
    """The buffer, full."""
    view = memoryview(buffer)
    while len(view):
        got = connection.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return buffer
