/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Senders and receivers. What happens to every data packet: sent by aqm_flow_send, through the queue and the link,
 * aqm_flow_deliver, an acknowledgement in a line, aqm_flow_back. The receiver's work is done when the packet leaves
 * the link; the way to it and back is one delay.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sim/run.h"

enum { HEADER = 52, INITIAL_WINDOW = 10, TIMERS = 6 };
enum { HYSTART_SAMPLES = 8, HYSTART_ROUNDS = 5 };

enum { DUPACKS = 3 };

static const aqm_time RTO_MIN = 200 * AQM_MS, DELACK = 40 * AQM_MS, SLOP = 200 * AQM_MS, BURST = 250 * AQM_US;

static enum aqm_codepoint codepoint_of(const struct aqm_flow_settings *settings, const struct aqm_cc_type *cc)
{
	static const enum aqm_codepoint points[] = {AQM_NOT_ECT, AQM_ECT0, AQM_ECT1};
	enum aqm_ecn ecn = settings->ecn == AQM_ECN_AUTO ? cc ? cc->ecn : AQM_ECN_OFF : settings->ecn;

	return points[ecn];
}

struct aqm_flow *aqm_flow_new(struct aqm_run *run, size_t group, uint64_t limit, aqm_time start)
{
	const struct aqm_flow_settings *settings = &run->scenario->flows[group];
	double passes = (double)run->scenario->link.passes * (run->scenario->link.acks == AQM_ACKS_SHARED ? 2 : 1);
	struct aqm_flow *flow = run->free_flows;
	struct aqm_line acks = {0}, back = {0};

	if (flow) {
		run->free_flows = flow->next_free;
		acks = (struct aqm_line){.ring = flow->acks.ring, .capacity = flow->acks.capacity};
		back = (struct aqm_line){.ring = flow->back.ring, .capacity = flow->back.capacity};
	} else {
		if (run->flow_count == run->flow_capacity) {
			size_t capacity = run->flow_capacity ? 2 * run->flow_capacity : 64;
			struct aqm_flow **grown = aqm_realloc_array(run->flows, capacity, sizeof(struct aqm_flow *));

			if (!grown)
				return NULL;
			run->flows = grown;
			run->flow_capacity = capacity;
		}
		if (aqm_events_reserve(&run->events, TIMERS) != AQM_OK || !(flow = aqm_calloc_array(1, sizeof *flow)))
			return NULL;
		flow->index = (uint32_t)run->flow_count;
		run->flows[run->flow_count++] = flow;
	}
	*flow = (struct aqm_flow){
		.settings = settings,
		.cc = aqm_cc_find(settings->cc),
		.index = flow->index,
		.group = (uint32_t)group,
		.bytes = (uint32_t)settings->packet,
		.payload = (uint32_t)settings->packet - HEADER,
		.rtt = (aqm_time)((settings->rtt + passes * run->scenario->link.delay) * 1e6),
		.started = start,
		.stop = (aqm_time)(settings->stop * 1e9),
		.limit = limit,
		.cwnd = INITIAL_WINDOW,
		.ssthresh = INFINITY,
		.pace_gain = 1,
		.acks = acks,
		.back = back,
	};
	flow->codepoint = codepoint_of(settings, flow->cc);
	if (flow->cc && settings->handshake == AQM_ON) {
		flow->opening = true;
		flow->cwnd = 1;
		flow->limit += limit < UINT64_MAX;
	}
	aqm_timer_init(&flow->send_timer, AQM_TIMER_SEND, flow);
	aqm_timer_init(&flow->timeout_timer, AQM_TIMER_TIMEOUT, flow);
	aqm_timer_init(&flow->life_timer, AQM_TIMER_LIFE, flow);
	aqm_timer_init(&flow->delack_timer, AQM_TIMER_DELACK, flow);
	aqm_timer_init(&flow->acks.timer, AQM_TIMER_ACKS, flow);
	aqm_timer_init(&flow->back.timer, AQM_TIMER_BACK, flow);
	if (flow->cc && flow->cc->init)
		flow->cc->init(flow);
	aqm_events_set(&run->events, &flow->life_timer, start);
	return flow;
}

void aqm_flow_free(struct aqm_flow *flow)
{
	free(flow->acks.ring);
	free(flow->back.ring);
	free(flow);
}

void aqm_flow_life(struct aqm_run *run, struct aqm_flow *flow)
{
	flow->running = !flow->running;
	if (!flow->running) {
		flow->stopped = true;
		aqm_events_cancel(&run->events, &flow->send_timer);
		return;
	}
	if (flow->stop > 0)
		aqm_events_set(&run->events, &flow->life_timer, flow->stop);
	flow->last_ack = flow->next_send = aqm_run_now(run);
	aqm_flow_send(run, flow);
}

/* A short flow that is done, with nothing of it under way, makes room for another. */
static void retire(struct aqm_run *run, struct aqm_flow *flow)
{
	if (flow->running || flow->alive || flow->acks.count || flow->back.count || flow->unacked)
		return;
	aqm_events_cancel(&run->events, &flow->send_timer);
	aqm_events_cancel(&run->events, &flow->timeout_timer);
	aqm_events_cancel(&run->events, &flow->life_timer);
	aqm_events_cancel(&run->events, &flow->delack_timer);
	aqm_events_cancel(&run->events, &flow->acks.timer);
	aqm_events_cancel(&run->events, &flow->back.timer);
	flow->next_free = run->free_flows;
	run->free_flows = flow;
}

/* ---- lines ---- */

static int line_grow(struct aqm_line *line)
{
	uint32_t capacity = line->capacity ? 2 * line->capacity : 16;
	struct aqm_ack *ring = aqm_malloc_array(capacity, sizeof *ring);

	if (!ring)
		return AQM_ERUN;
	for (uint32_t i = 0; i < line->count; i++)
		ring[i] = line->ring[(line->first + i) & (line->capacity - 1)];
	free(line->ring);
	line->ring = ring;
	line->capacity = capacity;
	line->first = 0;
	return AQM_OK;
}

/* Arrives after `delay` and some jitter, but not before what went in front of it. */
static void line_push(struct aqm_run *run, struct aqm_line *line, struct aqm_ack ack, aqm_time delay)
{
	ack.at = aqm_run_now(run) + delay;
	if (run->jitter)
		ack.at += (aqm_time)(aqm_rng_u32(&run->jitter_rng) * 0x1p-32 * (double)run->jitter);
	if (line->count == line->capacity && line_grow(line) != AQM_OK) {
		run->code = AQM_ERUN;
		return;
	}
	if (line->count) {
		aqm_time before = line->ring[(line->first + line->count - 1) & (line->capacity - 1)].at;

		ack.at = ack.at > before ? ack.at : before;
	} else {
		aqm_events_set(&run->events, &line->timer, ack.at);
	}
	line->ring[(line->first + line->count++) & (line->capacity - 1)] = ack;
}

static struct aqm_ack line_pop(struct aqm_run *run, struct aqm_line *line)
{
	struct aqm_ack ack = line->ring[line->first];

	line->first = (line->first + 1) & (line->capacity - 1);
	if (--line->count)
		aqm_events_set(&run->events, &line->timer, line->ring[line->first].at);
	return ack;
}

/* ---- sender ---- */

static uint64_t in_flight(const struct aqm_flow *flow)
{
	return flow->next - flow->received - flow->lost;
}

static bool by_dupacks(const struct aqm_flow *flow)
{
	return flow->settings->recovery == AQM_RECOVERY_DUPACKS;
}

static aqm_time timeout_of(const struct aqm_flow *flow)
{
	aqm_time rto = flow->srtt ? flow->srtt + 4 * flow->rttvar + (by_dupacks(flow) ? SLOP : 0) : AQM_SECOND;

	return (rto > RTO_MIN ? rto : RTO_MIN) << (flow->backoff < 6 ? flow->backoff : 6);
}

/* RFC 8985: soon after the last packets, one more shows whether they were lost. */
static aqm_time probe_after(const struct aqm_flow *flow)
{
	if (by_dupacks(flow))
		return timeout_of(flow);
	aqm_time after = 2 * flow->srtt + (in_flight(flow) == 1 ? DELACK : 0);

	return after > 10 * AQM_MS ? after : 10 * AQM_MS;
}

static void send_packet(struct aqm_run *run, struct aqm_flow *flow)
{
	struct aqm_packet *packet = aqm_packet_new(&run->pool);

	if (!packet) {
		run->code = AQM_ERUN;
		return;
	}
	packet->flow = flow;
	packet->bytes = flow->opening ? HEADER : flow->bytes;
	packet->codepoint = flow->opening ? AQM_NOT_ECT : (uint8_t)flow->codepoint;
	packet->is_ack = false;
	packet->passed = 0;
	packet->ack.number = flow->next++;
	packet->ack.echo = aqm_run_now(run);
	flow->alive++;
	aqm_run_enqueue(run, packet);
}

static bool may_send(const struct aqm_flow *flow)
{
	uint64_t flying = in_flight(flow);

	return flow->running && (double)flying + 1 <= flow->cwnd + 1e-9 && flow->received + flying < flow->limit;
}

/* Packets a second: the window in a round trip, twice that in slow start. */
static double pace_of(const struct aqm_flow *flow)
{
	double gain = flow->cwnd < flow->ssthresh ? 2 : flow->pace_gain;

	return gain * flow->cwnd / ((double)flow->srtt * 1e-9);
}

static void send_window(struct aqm_run *run, struct aqm_flow *flow)
{
	bool paced = flow->cc->paced && flow->srtt > 0;

	while (run->code == AQM_OK && may_send(flow)) {
		aqm_time now = aqm_run_now(run);

		if (paced) {
			if (flow->burst_left == 0 && now < flow->next_send) {
				aqm_events_set(&run->events, &flow->send_timer, flow->next_send);
				break;
			}
			double pace = pace_of(flow);
			if (flow->burst_left == 0) /* what goes out in 250 us goes out at once */
				flow->burst_left = (unsigned)fmax(1, fmin(pace * (double)BURST * 1e-9, 64));
			flow->burst_left--;
			flow->next_send = (flow->next_send > now ? flow->next_send : now) + (aqm_time)(1e9 / pace);
		}
		send_packet(run, flow);
	}
	if (!flow->timeout_timer.place && in_flight(flow))
		aqm_events_set(&run->events, &flow->timeout_timer, aqm_run_now(run) + probe_after(flow));
}

/* Unresponsive: at its rate, in bursts where it has silences. */
static void send_rate(struct aqm_run *run, struct aqm_flow *flow)
{
	const struct aqm_flow_settings *s = flow->settings;
	aqm_time now = aqm_run_now(run), cycle = (aqm_time)((s->on + s->off) * 1e6), on = (aqm_time)(s->on * 1e6);

	if (!flow->running)
		return;
	if (s->off > 0 && cycle > 0 && (now - flow->started) % cycle >= on) {
		flow->next_send = now - (now - flow->started) % cycle + cycle;
	} else {
		send_packet(run, flow);
		flow->next_send += 1 + (aqm_time)(flow->bytes * 8e3 / s->rate); /* Mb/s: 1e9 ns / 1e6 */
		if (flow->next_send < now)
			flow->next_send = now;
	}
	aqm_events_set(&run->events, &flow->send_timer, flow->next_send);
}

void aqm_flow_send(struct aqm_run *run, struct aqm_flow *flow)
{
	if (flow->cc)
		send_window(run, flow);
	else
		send_rate(run, flow);
}

void aqm_flow_timeout(struct aqm_run *run, struct aqm_flow *flow)
{
	aqm_time now = aqm_run_now(run), rto = flow->last_ack + timeout_of(flow),
			 probe = flow->last_ack + probe_after(flow);

	if (!in_flight(flow)) {
		if (flow->stopped)
			retire(run, flow);
		return;
	}
	if (flow->stuck && flow->stuck + timeout_of(flow) < rto)
		rto = flow->stuck + timeout_of(flow);
	if (now >= rto) {
		flow->held = flow->held_after = 0;
		flow->stuck = 0;
		flow->again_from = flow->again_to = 0;
		flow->lost += in_flight(flow); /* should they come after all, their acknowledgement takes this back */
		flow->settled = flow->next;
		flow->recover = flow->next;
		if (flow->cc->congested)
			flow->cc->congested(flow, now);
		flow->cwnd = 1;
		flow->backoff++;
		flow->last_ack = now;
		flow->probed = false;
		flow->burst_left = 0;
		if (flow->stopped) {
			retire(run, flow);
			return;
		}
		aqm_flow_send(run, flow);
		rto = now + timeout_of(flow);
		probe = rto;
	} else if (now >= probe && !flow->probed && flow->running && !by_dupacks(flow)) {
		flow->probed = true;
		send_packet(run, flow);
	}
	if (!flow->timeout_timer.place && in_flight(flow)) {
		aqm_time next = !flow->probed && probe > now ? probe : rto;

		aqm_events_set(&run->events, &flow->timeout_timer, next > now ? next : now + AQM_MS);
	}
}

static void measure_rtt(struct aqm_flow *flow, aqm_time rtt)
{
	flow->last_rtt = rtt;
	if (!flow->srtt) {
		flow->srtt = rtt;
		flow->rttvar = rtt / 2;
	} else {
		aqm_time error = rtt - flow->srtt;

		flow->srtt += error / 8;
		flow->rttvar += ((error < 0 ? -error : error) - flow->rttvar) / 4;
	}
}

/* The connection is there: everything begins, whatever it took. */
static void open_window(struct aqm_flow *flow)
{
	flow->opening = false;
	flow->cwnd = INITIAL_WINDOW;
	flow->ssthresh = INFINITY;
	if (flow->cc->init)
		flow->cc->init(flow);
}

/* RFC 9406: when the shortest round trip of a round is longer than that of the round before, growth becomes gentle; if
 * it stays so for five rounds, slow start is over; if it does not, growth goes on as before. */
static void hystart(struct aqm_flow *flow)
{
	struct aqm_hystart *h = &flow->hystart;

	if (flow->settled > h->end) { /* a new round */
		if (h->gentle && ++h->rounds >= HYSTART_ROUNDS) {
			flow->ssthresh = flow->cwnd;
			h->gentle = false;
			return;
		}
		h->before = h->shortest;
		h->shortest = 0;
		h->samples = 0;
		h->end = flow->next;
	}
	h->shortest = h->samples++ == 0 || flow->last_rtt < h->shortest ? flow->last_rtt : h->shortest;
	if (h->samples < HYSTART_SAMPLES || h->before == 0)
		return;
	aqm_time margin = h->before / 8;
	margin = margin < 4 * AQM_MS ? 4 * AQM_MS : margin > 16 * AQM_MS ? 16 * AQM_MS : margin;
	if (!h->gentle && h->shortest >= h->before + margin) {
		h->gentle = true;
		h->baseline = h->shortest;
		h->rounds = 0;
	} else if (h->gentle && h->shortest < h->baseline) {
		h->gentle = false;
	}
}

/* Skipped numbers count as lost when three packets have come from behind them. They are sent again next, and one of
 * those lost means to wait for the timer. */
static uint64_t hold_losses(struct aqm_flow *flow, aqm_time now, uint64_t number, uint64_t received, uint64_t skipped)
{
	if (skipped && number > flow->again_from && number - skipped < flow->again_to && !flow->stuck)
		flow->stuck = now - flow->srtt; /* about when it was sent again */
	flow->held += skipped;
	flow->held_after = flow->held ? flow->held_after + received : 0;
	if (flow->held_after < DUPACKS)
		return 0;
	uint64_t lost = flow->held;
	flow->held = flow->held_after = 0;
	flow->again_from = flow->again_to < flow->next ? flow->next : flow->again_from;
	flow->again_to = (flow->again_to < flow->next ? flow->next : flow->again_to) + lost;
	return lost;
}

static void handle_ack(struct aqm_run *run, struct aqm_flow *flow, const struct aqm_ack *ack)
{
	aqm_time now = aqm_run_now(run);
	uint64_t received = ack->received - flow->received, span = 0, lost = 0;
	struct aqm_news news = {now, received, ack->marked - flow->marked};
	bool limited = flow->received + in_flight(flow) >= flow->limit;

	if (ack->number >= flow->settled) {
		span = ack->number + 1 - flow->settled;
		flow->settled = ack->number + 1;
	}
	flow->received = ack->received;
	flow->marked = ack->marked;
	if (received > span) /* given up, but they had only been late */
		flow->lost -= received - span < flow->lost ? received - span : flow->lost;
	else
		lost = span - received;
	if (by_dupacks(flow))
		lost = hold_losses(flow, now, ack->number, received, lost);
	flow->lost += lost;
	flow->last_ack = now;
	flow->backoff = 0;
	flow->probed = false;
	measure_rtt(flow, now - ack->echo);
	if (flow->opening)
		open_window(flow);
	if (flow->settings->hystart == AQM_ON && flow->cwnd < flow->ssthresh)
		hystart(flow);
	flow->rtt_sum += (double)flow->last_rtt;
	flow->cwnd_sum += flow->cwnd;
	flow->rtt_count++;
	if ((lost || (news.marked && !flow->cc->accurate)) && flow->settled > flow->recover) {
		flow->cc->congested(flow, now);
		flow->recover = flow->next;
	}
	if (flow->cc->accurate || (flow->settled > flow->recover && !limited))
		flow->cc->acked(flow, &news);
	if (flow->received >= flow->limit && flow->running) {
		flow->running = false;
		flow->stopped = true;
		aqm_web_finished(run, flow);
	}
	if (flow->running)
		send_window(run, flow);
}

void aqm_flow_back(struct aqm_run *run, struct aqm_flow *flow)
{
	struct aqm_ack ack = line_pop(run, &flow->back);

	handle_ack(run, flow, &ack);
	if (flow->stopped)
		retire(run, flow);
}

/* ---- receiver ---- */

static void acknowledge(struct aqm_run *run, struct aqm_flow *flow)
{
	const struct aqm_ack ack = {
		.echo = flow->rx_echo, .number = flow->rx_number, .received = flow->rx_received, .marked = flow->rx_marked};

	flow->unacked = 0;
	if (run->scenario->link.acks == AQM_ACKS_SHARED)
		line_push(run, &flow->acks, ack, flow->rtt / 2);
	else
		line_push(run, &flow->back, ack, flow->rtt);
}

void aqm_flow_delack(struct aqm_run *run, struct aqm_flow *flow)
{
	aqm_time due = flow->unacked_since + DELACK;

	if (!flow->unacked)
		return;
	if (aqm_run_now(run) >= due)
		acknowledge(run, flow);
	else
		aqm_events_set(&run->events, &flow->delack_timer, due);
}

static void receive(struct aqm_run *run, struct aqm_flow *flow, const struct aqm_packet *packet)
{
	bool gap = packet->ack.number != flow->rx_number + 1 && flow->rx_received > 0, marked = packet->codepoint == AQM_CE;
	bool changed = flow->cc && flow->cc->accurate && marked != flow->last_was_marked;

	flow->rx_received++;
	flow->rx_marked += marked;
	flow->rx_number = packet->ack.number;
	flow->last_was_marked = marked;
	if (!flow->cc)
		return;
	if (flow->unacked++ == 0) { /* time stamps echo the first packet that is waiting (RFC 7323) */
		flow->unacked_since = aqm_run_now(run);
		flow->rx_echo = packet->ack.echo;
	}
	if (flow->unacked >= flow->settings->ack_every || gap || changed || flow->rx_received == 1 ||
	    flow->rx_received == flow->limit) /* what begins and what ends is answered at once */
		acknowledge(run, flow);
	else if (!flow->delack_timer.place)
		aqm_events_set(&run->events, &flow->delack_timer, flow->unacked_since + DELACK);
}

void aqm_flow_deliver(struct aqm_run *run, struct aqm_packet *packet)
{
	struct aqm_flow *flow = packet->flow;

	if (++packet->passed < run->scenario->link.passes) { /* the delay between lies in the round trip as a whole */
		aqm_run_enqueue(run, packet);
		return;
	}
	if (packet->is_ack)
		line_push(run, &flow->back, packet->ack, flow->rtt - flow->rtt / 2);
	else
		receive(run, flow, packet);
	flow->alive--;
	aqm_packet_free(&run->pool, packet);
	if (flow->stopped)
		retire(run, flow);
}

/* An acknowledgement comes to the queue that it shares with the data. */
void aqm_flow_acks(struct aqm_run *run, struct aqm_flow *flow)
{
	struct aqm_packet *packet = aqm_packet_new(&run->pool);

	if (!packet) {
		run->code = AQM_ERUN;
		return;
	}
	packet->ack = line_pop(run, &flow->acks);
	packet->flow = flow;
	packet->bytes = HEADER;
	packet->codepoint = AQM_NOT_ECT;
	packet->is_ack = true;
	packet->passed = 0;
	flow->alive++;
	aqm_run_enqueue(run, packet);
}
