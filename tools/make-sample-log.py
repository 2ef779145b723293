#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Make the sample log of data/: a simulated bottleneck with FreeBSD's DualPI2 writes a kernel log, faults and all.

usage: make-sample-log.py [--seed N] [--records N] FOLDER

A link of 2.5 Mb/s serves a classic and an L4S queue by deficit round robin. Each queue runs its own PIE with derandomised
drops, a burst allowance and a clock of 10 ms. Senders (Reno with and without ECN, DCTCP) that come and go together fill
it; their ACKs come back through the same pipe. A line is printed for every arrival, before it is enqueued, with what PIE has decided: also
where a burst is still allowed and the packet is enqueued all the same (a phantom drop). Same seed, same bytes.
"""
import argparse
import bz2
import gzip
import heapq
import os
import random

RATE = 2.5e6        # bit/s
DELAY = 0.020       # one way
INITIAL_WINDOW = 6  # packets
ON, OFF = (4.0, 6.0), (2.5, 3.0)  # seconds, of all senders together
HZ = 100            # of the kernel's clock
TARGET = TUPDATE = 0.015
MAX_BURST = 0.450
MAX_PROB = (1 << 31) - 1
ALPHA, BETA, MAX_ECNTH = 0.125, 1.25, 0.6
QUANTUM, WEIGHTS = 1514, (1, 2)
LIMIT = 10240       # packets
DATA, ACK = 1500, 52
CLASSIC, L4S = 0, 1
ENQUEUE, DROP, MARK = 1, 2, 3


class Packet:
    def __init__(self, flow, number, size, ect):
        self.flow, self.number, self.size, self.ect = flow, number, size, ect
        self.ce = self.is_ack = False
        self.arrived = 0.0


class Queue:
    """One queue and its PIE, times in ticks of the kernel's clock."""

    def __init__(self, kind):
        self.kind = kind
        self.packets, self.head = [], 0
        self.bytes = self.tot_pkts = self.tot_bytes = self.drops = 0
        self.prob = self.delay = self.delay_old = 0.0
        self.burst, self.accu, self.active = MAX_BURST, 0, False
        self.deficit = 0

    def __len__(self):
        return len(self.packets) - self.head

    def pop(self):
        packet = self.packets[self.head]
        self.head += 1
        if self.head > 1000:
            del self.packets[:self.head]
            self.head = 0
        self.bytes -= packet.size
        return packet

    def update(self):
        """RFC 8033, section 4.2, with its scaling of small probabilities."""
        if not self.active:
            return
        p = ALPHA * (self.delay - TARGET) + BETA * (self.delay - self.delay_old)
        for limit, divisor in ((1e-6, 2048), (1e-5, 512), (1e-4, 128), (1e-3, 32), (1e-2, 8), (1e-1, 2)):
            if self.prob < limit:
                p /= divisor
                break
        if self.prob >= 0.1 and p > 0.02:
            p = 0.02
        if self.delay > 0.250:
            p += 0.02
        if self.delay == 0 and self.delay_old == 0:
            self.prob -= self.prob / 64
        self.prob = min(max(self.prob + p, 0.0), 1.0)
        self.burst = max(self.burst - TUPDATE, 0.0)
        if self.prob < 1e-9 and self.delay < TARGET / 2 and self.delay_old < TARGET / 2:
            self.burst = MAX_BURST
            self.prob = 0.0
        self.delay_old = self.delay

    def decide(self, packet, rng):
        """What PIE says of an arrival: ENQUEUE, DROP or MARK, and whether the packet is let in."""
        action = self.drop_early(rng)
        if not self.active and self.bytes > 3 * DATA:
            self.active, self.burst, self.prob, self.accu = True, MAX_BURST, 0.0, 0
        if not self.active or self.burst > 0:
            return action, True
        if action == DROP and packet.ect and self.prob < MAX_ECNTH:
            action = MARK
        return action, action != DROP and len(self) < LIMIT

    def drop_early(self, rng):
        if (self.delay_old < TARGET / 2 and self.prob < 0.2) or self.bytes <= 1600:
            return ENQUEUE
        if self.prob == 0:
            self.accu = 0
        self.accu += int(self.prob * MAX_PROB)
        if self.accu < 0.85 * MAX_PROB:
            return ENQUEUE
        if self.accu >= 8.5 * MAX_PROB:
            return DROP
        if rng.random() < self.prob:
            self.accu = 0
            return DROP
        return ENQUEUE


class Sender:
    """A window of packets in flight; halved once a round trip by loss or ECN, or DCTCP's way."""

    def __init__(self, index, kind, ecn):
        self.index, self.kind, self.ecn = index, kind, ecn
        self.on = False
        self.next = 0
        self.flight = {}
        self.got = set()
        self.start_again()

    def start_again(self):
        self.window, self.threshold = float(INITIAL_WINDOW), 64.0
        self.alpha, self.acked, self.marked = 1.0, 0, 0
        self.recover = self.next
        self.flight.clear()

    def on_ack(self, number, ce):
        """True when something new was acknowledged."""
        new = [n for n in self.flight if n <= number and n in self.got]
        lost = [n for n in self.flight if n + 3 <= number and n not in self.got]
        for n in new + lost:
            del self.flight[n]
        self.acked += len(new)
        self.marked += ce
        dctcp = self.kind == L4S
        if number >= self.recover and (lost or ce):
            self.recover = self.next
            if dctcp and not lost:
                self.window *= 1 - self.alpha / 2
            else:
                self.window /= 2
            self.window = self.threshold = max(self.window, 2.0)
            if dctcp and self.acked:
                self.alpha += (min(self.marked / self.acked, 1) - self.alpha) / 16
                self.acked = self.marked = 0
        else:
            self.window += len(new) if self.window < self.threshold else len(new) / self.window
        return bool(new)


class Bottleneck:
    def __init__(self, rng, sink):
        self.rng, self.sink = rng, sink
        self.queues = [Queue(CLASSIC), Queue(L4S)]
        self.turn, self.busy = CLASSIC, False
        self.events, self.order, self.now = [], 0, 0.0

    def at(self, delay, what, *arguments):
        self.order += 1
        heapq.heappush(self.events, (self.now + delay, self.order, what, arguments))

    def tick(self):
        return int(self.now * HZ) / HZ

    def arrive(self, packet):
        queue = self.queues[L4S if packet.ect == 1 else CLASSIC]
        before = (len(queue), queue.bytes, queue.tot_pkts, queue.tot_bytes, queue.drops)
        action, let_in = queue.decide(packet, self.rng)
        self.sink(self, queue, packet, action, before)
        if not let_in:
            queue.drops += 1
            return
        packet.ce |= action == MARK
        packet.arrived = self.tick()
        queue.packets.append(packet)
        queue.bytes += packet.size
        queue.tot_pkts += 1
        queue.tot_bytes += packet.size
        if not self.busy:
            self.serve()

    def serve(self):
        """Deficit round robin."""
        if not any(len(q) for q in self.queues):
            self.busy = False
            return
        self.busy = True
        while True:
            queue = self.queues[self.turn]
            if len(queue) and queue.packets[queue.head].size <= queue.deficit:
                break
            if not len(queue):
                queue.deficit = 0
            self.turn = 1 - self.turn
            if len(self.queues[self.turn]):
                self.queues[self.turn].deficit += QUANTUM * WEIGHTS[self.turn]
        packet = queue.pop()
        queue.deficit -= packet.size
        queue.delay = self.tick() - packet.arrived
        if not len(queue):
            queue.delay = 0.0
        self.at(packet.size * 8 / RATE, self.sent, packet)

    def sent(self, packet):
        self.at(DELAY, packet.flow.back_at_sender if packet.is_ack else packet.flow.at_receiver, packet)
        self.serve()


class Flow(Sender):
    def __init__(self, bottleneck, index, kind, ecn):
        super().__init__(index, kind, ecn)
        self.link = bottleneck

    def switch(self, on):
        self.on = on
        if on:
            self.start_again()
            self.send()
            self.at_least(self.next)

    def send(self):
        while self.on and len(self.flight) < int(self.window):
            self.flight[self.next] = True
            spread = len(self.flight) * 0.0004 * self.link.rng.random()
            ect = (1 if self.kind == L4S else 2) if self.ecn else 0
            self.link.at(0.001 + spread, self.link.arrive, Packet(self, self.next, DATA, ect))
            self.next += 1

    def at_receiver(self, packet):
        self.got.add(packet.number)
        ack = Packet(self, packet.number, ACK, 0)
        ack.is_ack, ack.ce = True, packet.ce
        self.link.at(0.0005, self.link.arrive, ack)

    def back_at_sender(self, ack):
        if self.on_ack(ack.number, ack.ce):
            self.last_progress = self.link.now
        self.send()

    def at_least(self, number):
        """A timeout: nothing of a whole window has come back for a second."""
        if self.on and self.flight and min(self.flight) >= number and number > 0:
            window = max(self.window / 4, 2.0)
            self.start_again()
            self.threshold = window
            self.send()
        self.link.at(1.0, self.at_least, self.next)


CHATTER = ("idx queue Type: %d ", "Overload: false", "dequeue_action: 1 ", "cqueue_drop_early start ", "Activate PIE :1 ",
           "fq_calculate_drop_prob ", "Condition met for ENQUE: ")


class Log:
    """Lines as syslogd writes them, with the faults of real logs."""

    def __init__(self, rng, records):
        self.rng, self.records, self.lines = rng, records, []

    def stamp(self, now):
        seconds = int(now)
        return "Mar  3 09:%02d:%02d bottleneck-a kernel: " % (seconds // 60, seconds % 60)

    def write(self, link, queue, packet, action, before):
        length, length_bytes, tot_pkts, tot_bytes, drops = before
        us = lambda seconds: round(seconds * 1e6)
        fields = [queue.kind, 15000, 15000, us(MAX_BURST), int(MAX_ECNTH * 8192), 1024, 10240, 19, us(queue.burst), int(queue.prob * MAX_PROB), us(queue.delay),
                  us(queue.delay_old), queue.accu, us(link.now) & 0xffffffff, 0, 0, int(queue.active), tot_pkts, tot_bytes, length,
                  length_bytes, drops, packet.size, action]
        head = self.stamp(link.now)
        line = "l4s_ecn_marking-start,%s,end " % ",".join(map(str, fields))
        chance = self.rng.random()
        chatter = self.rng.choice(CHATTER)
        if "%d" in chatter:
            chatter %= queue.kind
        if chance < 0.003:  # text of another processor lands inside the line, whose rest is lost
            line = line[:self.rng.randrange(60, 126)] + chatter
        elif chance < 0.05:
            self.lines.append(head + chatter)
        elif chance < 0.052:
            self.lines += [head + chatter, head.replace("kernel: ", "") + "last message repeated 2 times"]
        self.lines.append(head + line)
        self.records -= 1


def simulate(seed, records):
    rng = random.Random(seed)
    log = Log(random.Random(seed + 1), records)
    link = Bottleneck(rng, log.write)
    flows = [Flow(link, i, kind, ecn) for i, (kind, ecn) in
             enumerate([(CLASSIC, True), (CLASSIC, True), (CLASSIC, False), (L4S, True), (L4S, True)])]

    def session(on):
        for flow in flows:
            link.at(rng.uniform(0, 0.05 if on else 0.5), flow.switch, on)
        link.at(rng.uniform(*(ON if on else OFF)), session, not on)

    def update():
        for queue in link.queues:
            queue.update()
        link.at(TUPDATE, update)

    update()
    session(True)
    while log.records > 0:
        link.now, _, what, arguments = heapq.heappop(link.events)
        what(*arguments)
    return log.lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--plain", action="store_true", help="one plain file instead of a rotated set")
    options = parser.parse_args()
    lines = simulate(options.seed, options.records)
    os.makedirs(options.folder, exist_ok=True)
    turned = "Mar  3 09:00:00 bottleneck-a newsyslog[711]: logfile turned over due to size>200K"
    n = len(lines)
    parts = [lines] if options.plain else [lines[:2 * n // 5], lines[2 * n // 5:4 * n // 5], lines[4 * n // 5:]]
    names = ["messages"] if options.plain else ["messages.1.bz2", "messages.0.gz", "messages"]
    for i, (name, part) in enumerate(zip(names, parts)):
        data = ("\n".join(([turned] if i else []) + part) + "\n").encode()
        if name.endswith(".gz"):
            data = gzip.compress(data, 9, mtime=0)
        elif name.endswith(".bz2"):
            data = bz2.compress(data)
        with open(os.path.join(options.folder, name), "wb") as out:
            out.write(data)


if __name__ == "__main__":
    main()
