"""A link and a made-up Zeek wired together, for tests of what one says to the other."""

import json

from pyad.link import Link, LinkSettings
from tests.fake_zeek import SECRET, Peer

ROWS = ["r1", "r2"]
JOINED = b'{"type":"ack","endpoint":"x","version":"9.1.0-dev"}'


class Wired:
    """A link and a peer, wired together; `notices` says what the scoring of a batch gives."""

    def __init__(self, peer=None, mode="auto", memory=None, **settings):
        self.told = []
        self.clock = 1_700_000_000_000_000
        self.peer = peer or Peer()
        sessions = iter(f"{n:016x}" for n in range(1, 1000))
        settings = {"secret": SECRET, "require_mac": mode} | settings
        self.link = Link(LinkSettings(**settings), self.log, lambda: self.clock, lambda: next(sessions))
        if memory is not None:
            self.link.restore(memory)
        self.now = 100.0
        self.scored = []
        self.notices = {}
        self.answering = True

    def log(self, level, event, /, **fields):
        self.told.append((level, event, fields))

    def events(self, event):
        return [fields for _, e, fields in self.told if e == event]

    def connect(self):
        frames = self.link.connected(self.now)
        assert json.loads(frames[0]) == ["zeek/pyad/rows/all/", "zeek/pyad/status/"] and len(frames) == 1
        self.peer.session, self.peer.sent = "", 0
        self.hear(JOINED)
        return self

    def hear(self, *frames):
        """Frames from Zeek; all that follows from them on both sides."""
        for raw in frames:
            self.tell(self.link.receive(raw, self.now))
        if self.answering:
            self.work()

    def tell(self, frames):
        """Frames from the link; what Zeek sends in return is heard."""
        for one in frames:
            if self.link.joined:
                self.hear(*self.peer.take(one))

    def work(self):
        while works := self.link.take():
            for work in works:
                self.scored.append(work.seq)
                self.tell(self.link.done(work, self.notices.get(work.seq, ()), self.now))

    def pass_time(self, s):
        self.now += s
        self.tell(self.link.tick(self.now))
        self.work()

    def rows(self, seq, **other):
        self.hear(self.peer.rows_frame(seq, ROWS, **other))
