"""Subscribers of redis-py before a cluster, to channels and to shard channels, while the cluster changes."""

import threading
import time

import redis
from presented import HOST, PORT

# The time in which each subscriber hears more after a change, on a busy machine.
PATIENCE = 30
# The messages of each kind that a subscriber must hear then.
MORE = 20


class Listener:
    """Hears numbers on a channel and on a shard channel. They rise, so that no message comes twice or late."""

    def __init__(self, name, client):
        self.channel, self.shard = f"{name}:channel", f"{name}:shard"
        self.heard = {self.channel: 0, self.shard: 0}
        self.last = dict(self.heard)
        self.error, self.stopping = None, False
        # A client that is not referenced any more closes its connections.
        self.client = client
        self.pubsub = client.pubsub(ignore_subscribe_messages=True)
        self.pubsub.subscribe(self.channel)
        self.pubsub.ssubscribe(self.shard)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping:
                self.take(self.pubsub.get_message(timeout=0.05))
                # A client of a cluster has another connection for them.
                if hasattr(self.pubsub, "get_sharded_message"):
                    self.take(self.pubsub.get_sharded_message(timeout=0.05))
        except (AssertionError, ValueError, redis.RedisError) as error:
            self.error = error

    def take(self, message):
        if message is not None and message["type"] in ("message", "smessage"):
            channel, number = message["channel"].decode(), int(message["data"])
            kind = "smessage" if channel == self.shard else "message"
            assert message["type"] == kind and number > self.last[channel], (message, self.last)
            self.last[channel] = number
            self.heard[channel] += 1


class Speaker:
    """Publishes rising numbers to all channels."""

    def __init__(self, listeners):
        self.listeners, self.stopping, self.number, self.errors, self.error = listeners, False, 0, 0, None
        self.client = redis.Redis(HOST, PORT)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping and self.error is None:
            self.number += 1
            for listener in self.listeners:
                self.say("PUBLISH", listener.channel)
                self.say("SPUBLISH", listener.shard)
            time.sleep(0.01)

    def say(self, command, channel):
        try:
            self.client.execute_command(command, channel, self.number)
        except redis.RedisError as error:
            if "this command may or may not have run" not in str(error):
                self.error = error
            self.errors += 1


class Listeners:
    """The subscribers, and the client that publishes."""

    def __init__(self, clients):
        self.all = [Listener(f"listener:{name}", client) for name, client in clients]
        self.speaker = Speaker(self.all)

    def shards(self):
        return [listener.shard for listener in self.all]

    def assert_hear(self):
        """Waits until each subscriber has heard more on each channel."""
        before = [dict(listener.heard) for listener in self.all]
        end = time.monotonic() + PATIENCE
        for listener, heard in zip(self.all, before):
            while any(listener.heard[channel] < count + MORE for channel, count in heard.items()):
                assert listener.error is None, (listener.channel, listener.error)
                assert self.speaker.error is None, self.speaker.error
                assert time.monotonic() < end, (listener.channel, heard, listener.heard, self.speaker.number)
                time.sleep(0.05)

    def end(self):
        for part in (self.speaker, *self.all):
            part.stopping = True
            part.thread.join(PATIENCE)
        heard = sum(sum(listener.heard.values()) for listener in self.all)
        print(f"  heard {heard} of {2 * len(self.all) * self.speaker.number} messages, "
              f"{self.speaker.errors} commands of the publisher read an error")
