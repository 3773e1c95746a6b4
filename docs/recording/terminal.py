"""A shell in a pseudo terminal whose output is kept as an asciicast (version 2). Python's standard library only."""

import codecs
import json
import os
import pty
import re
import select
import struct
import fcntl
import termios
import time
from pathlib import Path

# Bash reports the end of each command as a terminal title, which is not visible.
END = re.compile(r"\x1b\]0;end:(\d+)\x07")
PROMPT = re.compile(END.pattern + r"(?:\x1b\[\?2004h)?\$ $")
WIDTH, HEIGHT = 100, 26


class Terminal:
    """Types commands as a person does and records what the terminal shows."""

    def __init__(self, folder: Path, programs: Path, cast: Path):
        env = {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder.parent),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "PS1": "$ ",
            "PROMPT_COMMAND": r'printf "\033]0;end:%s\007" $?',
            "BASH_SILENCE_DEPRECATION_WARNING": "1",
        }
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.began = time.monotonic()
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.file = cast.open("w", encoding="utf-8")
        self.write({"version": 2, "width": WIDTH, "height": HEIGHT, "timestamp": int(time.time()), "env": {"TERM": "xterm-256color"}})
        self.until(PROMPT)

    def write(self, value):
        self.file.write(json.dumps(value, ensure_ascii=False) + "\n")
        self.file.flush()

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def read(self, seconds: float) -> str:
        """What arrives within `seconds`, or the first part of it."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return ""
        text = self.decoder.decode(os.read(self.fd, 65536))
        if text:
            self.write([round(self.seconds(), 3), "o", text])
        return text

    def until(self, pattern: re.Pattern, limit: float = 4 * 3600) -> re.Match:
        """Waits until `pattern` was shown."""
        shown, end = "", time.monotonic() + limit
        while time.monotonic() < end:
            shown = shown[-8192:] + self.read(1.0)
            if found := pattern.search(shown):
                return found
        raise TimeoutError(f"not shown within {limit} s: {pattern.pattern}")

    def type(self, text: str):
        for character in text:
            os.write(self.fd, character.encode())
            self.read(0.04)
            time.sleep(0.03)

    def run(self, command: str) -> float:
        """Types a command and waits for its end; returns its seconds. A command that fails ends the recording."""
        self.type(command)
        began = self.seconds()
        os.write(self.fd, b"\r")
        code = self.until(PROMPT)[1]
        if code != "0":
            raise RuntimeError(f"{command}: exit code {code}")
        return self.seconds() - began

    def start(self, command: str, shown: str):
        """Types a command that goes on, and waits until `shown` is shown."""
        self.type(command)
        os.write(self.fd, b"\r")
        return self.until(re.compile(shown))

    def interrupt(self):
        os.write(self.fd, b"\x03")
        self.until(PROMPT)
        self.file.close()
