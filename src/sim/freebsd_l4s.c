/* SPDX-License-Identifier: BSD-2-Clause
 *
 * freebsd-l4s: the L4S scheduler of the paper's kernel, with what is peculiar about it.
 *
 * - Two queues by deficit round robin, 1 quantum for the classic one and 2 for the other; a PIE of its own in each. The
 *   coupling of both is dead: the L queue reads a probability that only the classic queue sets in itself.
 * - ECT(1) goes to the L queue; everything else, CE too, to the classic one.
 * - PIE is active while its queue is, from its first packet on, and begins each time with p' = 0 and a full burst
 *   allowance. Above max_ecnth both queues drop. No threshold of its own in the L queue.
 * - The decision is logged as DROP also while the burst allowance runs: a phantom drop.
 * - The clock advances by a tick (1/hz): delays are multiples of it, and the link serves in ticks, unless the scenario
 *   says otherwise of the link.
 * - Integers as in the kernel: probabilities of 31 bits, alpha and beta of 13.
 */
#include "sim/qdisc.h"

enum {
	FLAG_ECN = 1,
	FLAG_CAPDROP = 2,
	FLAG_DERAND = 16,
	ACTIVE = 1,
	IN_MEASUREMENT = 2,
	SCALE = 8192,
	MEAN_PACKET = 800
};
#define PROBABILITY_MAX ((INT64_C(1) << 31) - 1)

struct pie {
	struct aqm_fifo fifo;
	int64_t probability;
	uint64_t accumulated;
	uint32_t delay, old_delay, burst, measurement_start; /* us */
	uint32_t sflags;
	uint64_t packets, bytes;
	uint32_t drops;
	int64_t deficit;
	enum { IDLE, NEW, OLD } list;
	struct pie *next;
	aqm_time due; /* of the update, while active */
};

struct list {
	struct pie *head, *tail;
};

struct freebsd_l4s {
	struct pie queues[AQM_QUEUES];
	struct list lists[3];                /* by pie.list; the first is not used */
	uint32_t target, tupdate, max_burst; /* us */
	uint32_t max_ecnth, alpha, beta;     /* 1/8192 */
	uint32_t flags, limit;
	int64_t quantum;
	aqm_time tick;
};

static int init(void *state, struct aqm_bottleneck *b, const struct aqm_aqm_settings *settings)
{
	struct freebsd_l4s *s = state;

	s->target = (uint32_t)(aqm_ms(settings->target, 15) / AQM_US);
	s->tupdate = (uint32_t)(aqm_ms(settings->tupdate, 15) / AQM_US);
	s->max_burst = (uint32_t)(aqm_ms(settings->max_burst, 150) / AQM_US);
	s->max_ecnth = (uint32_t)(aqm_or(settings->max_ecnth, 0.1) * SCALE);
	s->alpha = (uint32_t)(aqm_or(settings->alpha, 0.125) * SCALE);
	s->beta = (uint32_t)(aqm_or(settings->beta, 1.25) * SCALE);
	s->flags = FLAG_CAPDROP | FLAG_DERAND | (aqm_or(settings->ecn, 1) > 0 ? FLAG_ECN : 0);
	s->limit = (uint32_t)aqm_or(settings->limit, 10240);
	s->quantum = (int64_t)aqm_or(settings->quantum, 1514);
	s->tick = aqm_ms(settings->tick, 10);
	b->tick = aqm_ms(settings->link_tick, aqm_or(settings->tick, 10));
	b->next_update = s->tupdate * AQM_US;
	return AQM_OK;
}

/* The kernel's clock in us: ticks that have passed. */
static uint32_t clock_of(const struct freebsd_l4s *s, aqm_time now)
{
	return (uint32_t)((s->tick ? now - now % s->tick : now) / AQM_US);
}

static void append(struct freebsd_l4s *s, int list, struct pie *q)
{
	q->next = NULL;
	q->list = list;
	if (s->lists[list].tail)
		s->lists[list].tail->next = q;
	else
		s->lists[list].head = q;
	s->lists[list].tail = q;
}

static struct pie *behead(struct freebsd_l4s *s, int list)
{
	struct pie *q = s->lists[list].head;

	s->lists[list].head = q->next;
	if (!q->next)
		s->lists[list].tail = NULL;
	q->list = IDLE;
	return q;
}

static void activate(struct freebsd_l4s *s, struct aqm_bottleneck *b, struct pie *q)
{
	aqm_time now = b->now;

	q->probability = 0;
	q->old_delay = 0;
	q->burst = s->max_burst;
	q->accumulated = 0;
	q->sflags = ACTIVE | IN_MEASUREMENT;
	q->measurement_start = clock_of(s, now);
	q->due = now + s->tupdate * AQM_US;
	if (q->due < b->next_update)
		b->next_update = q->due;
}

/* What the kernel's early drop answers: DROP also stands for what may become a mark. */
static bool wants_drop(const struct freebsd_l4s *s, struct aqm_bottleneck *b, struct pie *q, bool squared)
{
	if ((q->old_delay < s->target / 2 && q->probability < PROBABILITY_MAX / 5) || q->fifo.bytes <= 2 * MEAN_PACKET)
		return false;
	if (q->probability == 0)
		q->accumulated = 0;
	q->accumulated += (uint64_t)q->probability;
	if (q->accumulated < (uint64_t)PROBABILITY_MAX * 17 / 20)
		return false;
	if (q->accumulated >= (uint64_t)PROBABILITY_MAX * 17 / 2)
		return true;
	if ((int64_t)(aqm_rng_u32(&b->rng) >> 1) >= q->probability ||
	    (squared && (int64_t)(aqm_rng_u32(&b->rng) >> 1) >= q->probability))
		return false;
	q->accumulated = 0;
	return true;
}

static void fill_record(const struct freebsd_l4s *s, const struct pie *q, const struct aqm_packet *packet,
                        uint64_t fields[AQM_LOG_FIELDS])
{
	fields[AQM_FIELD_QUEUE_TYPE] = packet->queue;
	fields[AQM_FIELD_QDELAY_REF] = s->target;
	fields[AQM_FIELD_TUPDATE] = s->tupdate;
	fields[AQM_FIELD_MAX_BURST] = s->max_burst;
	fields[AQM_FIELD_MAX_ECNTH] = s->max_ecnth;
	fields[AQM_FIELD_ALPHA] = s->alpha;
	fields[AQM_FIELD_BETA] = s->beta;
	fields[AQM_FIELD_FLAGS] = s->flags;
	fields[AQM_FIELD_BURST_ALLOWANCE] = q->burst;
	fields[AQM_FIELD_DROP_PROB] = (uint64_t)q->probability;
	fields[AQM_FIELD_CURRENT_QDELAY] = q->delay;
	fields[AQM_FIELD_QDELAY_OLD] = q->old_delay;
	fields[AQM_FIELD_ACCU_PROB] = q->accumulated;
	fields[AQM_FIELD_MEASUREMENT_START] = q->measurement_start;
	fields[AQM_FIELD_AVG_DQ_TIME] = 0; /* measured only with flag 8, which is not set */
	fields[AQM_FIELD_DQ_COUNT] = 0;
	fields[AQM_FIELD_SFLAGS] = q->sflags;
	fields[AQM_FIELD_TOT_PKTS] = q->packets;
	fields[AQM_FIELD_TOT_BYTES] = q->bytes;
	fields[AQM_FIELD_LENGTH] = q->fifo.packets;
	fields[AQM_FIELD_LEN_BYTES] = q->fifo.bytes;
	fields[AQM_FIELD_DROPS] = q->drops;
	fields[AQM_FIELD_PKT_LEN] = packet->bytes;
}

/* What is logged; what happens follows by aqm_effective_action(). */
static enum aqm_action rule(const struct freebsd_l4s *s, struct aqm_bottleneck *b, struct pie *q,
                            const struct aqm_packet *packet)
{
	if (!wants_drop(s, b, q, packet->queue == AQM_CLASSIC))
		return AQM_ENQUEUE;
	bool acts = (q->sflags & ACTIVE) && q->burst == 0;
	bool marks = (s->flags & FLAG_ECN) && q->probability < (int64_t)s->max_ecnth << (31 - 13) && aqm_can_mark(packet);

	return acts && marks ? AQM_MARK : AQM_DROP;
}

static enum aqm_action decide(struct freebsd_l4s *s, struct aqm_bottleneck *b, struct pie *q, struct aqm_packet *packet)
{
	uint64_t fields[AQM_LOG_FIELDS];

	double late = aqm_queue_in_force(b, packet->queue, -1);
	if (late >= 0)
		q->probability = (int64_t)(late * (double)PROBABILITY_MAX);
	uint64_t sum = q->accumulated + (uint64_t)q->probability;
	enum aqm_action logged = rule(s, b, q, packet), action;
	if (b->wants_records) {
		fill_record(s, q, packet, fields);
		if (q->accumulated == 0)
			fields[AQM_FIELD_ACCU_PROB] = sum; /* whoever decides must not see that the rules have decided */
		enum aqm_action asked = aqm_queue_decide(b, fields, logged);

		if (asked != logged)
			q->accumulated = asked == AQM_ENQUEUE ? sum : 0;
		if (asked == AQM_MARK && !aqm_can_mark(packet))
			asked = AQM_DROP;
		logged = asked;
		fields[AQM_FIELD_ACTION_LOGGED] = logged;
		fields[AQM_FIELD_ACCU_PROB] = q->accumulated; /* logged is what is left of it */
	}
	action = aqm_effective_action((uint8_t)logged, q->sflags, q->burst);
	if (b->wants_records)
		aqm_queue_log(b, fields, action);
	return action;
}

/* Over the limit: the longer queue loses its head. */
static void make_room(struct freebsd_l4s *s, struct aqm_bottleneck *b)
{
	struct pie *longest = &s->queues[s->queues[AQM_L4S].fifo.packets > s->queues[AQM_CLASSIC].fifo.packets];
	struct aqm_packet *packet = aqm_fifo_pop(&longest->fifo);

	longest->drops++;
	longest->accumulated = 0;
	aqm_queue_drop(b, packet);
}

static void enqueue(void *state, struct aqm_bottleneck *b, struct aqm_packet *packet)
{
	struct freebsd_l4s *s = state;
	size_t queue = packet->codepoint == AQM_ECT1 ? AQM_L4S : AQM_CLASSIC;
	struct pie *q = &s->queues[queue];

	aqm_queue_arrive(b, packet, queue);
	enum aqm_action action = decide(s, b, q, packet);
	if (!(q->sflags & ACTIVE) && q->fifo.bytes >= s->limit / AQM_QUEUES / 3)
		activate(s, b, q);
	if (q->probability == 0 && q->delay < s->target / 2 && q->old_delay < s->target / 2)
		q->burst = s->max_burst;
	q->packets++; /* the kernel counts dropped ones too */
	q->bytes += packet->bytes;
	if (action == AQM_DROP) {
		q->drops++;
		q->accumulated = 0;
		aqm_queue_drop(b, packet);
		return;
	}
	if (action == AQM_MARK)
		aqm_queue_mark(b, packet);
	aqm_fifo_push(&q->fifo, packet);
	if (q->list == IDLE) {
		q->deficit = s->quantum * (queue == AQM_L4S ? 2 : 1);
		append(s, NEW, q);
		activate(s, b, q);
	}
	if (s->queues[AQM_CLASSIC].fifo.packets + s->queues[AQM_L4S].fifo.packets > s->limit)
		make_room(s, b);
}

static struct aqm_packet *dequeue(void *state, struct aqm_bottleneck *b)
{
	struct freebsd_l4s *s = state;

	for (;;) {
		int list = s->lists[NEW].head ? NEW : OLD;
		struct pie *q = s->lists[list].head;

		if (!q)
			return NULL;
		if (q->deficit < 0) {
			q->deficit += s->quantum * (q == &s->queues[AQM_L4S] ? 2 : 1);
			append(s, OLD, behead(s, list));
			continue;
		}
		struct aqm_packet *packet = aqm_fifo_pop(&q->fifo);
		if (!packet) {
			behead(s, list);
			if (list == NEW)
				append(s, OLD, q);
			else
				q->sflags &= ~(uint32_t)(ACTIVE | IN_MEASUREMENT);
			continue;
		}
		q->delay = clock_of(s, b->now) - clock_of(s, packet->queued);
		q->deficit -= packet->bytes;
		aqm_queue_leave(b, packet);
		return packet;
	}
}

/* The kernel's update of p', with its shifts. */
static int64_t next_probability(const struct freebsd_l4s *s, const struct pie *q)
{
	int64_t p = q->probability, threshold = PROBABILITY_MAX / 1000000, next;
	int64_t step = (int64_t)s->alpha * ((int64_t)q->delay - s->target) +
	               (int64_t)s->beta * ((int64_t)q->delay - (int64_t)q->old_delay);
	bool down = step < 0;
	int shift = 11;

	while (shift > 0 && p >= threshold) {
		shift -= 2;
		threshold = shift > 1 ? threshold * 10 : PROBABILITY_MAX / 10;
	}
	if (shift < 0)
		shift = 0;
	step =
		(int64_t)((unsigned __int128)(uint64_t)(down ? -step : step) * ((uint64_t)(PROBABILITY_MAX << 12) / 1000000) >>
	              (shift + 13 + 12));
	if (down) {
		next = p - step;
	} else {
		if (p >= PROBABILITY_MAX / 10 && step > PROBABILITY_MAX / 50)
			step = PROBABILITY_MAX / 50;
		next = p + step;
	}
	if (next < 0)
		return 0;
	if (q->delay == 0 && q->old_delay == 0)
		next -= next >> 6;
	return next > PROBABILITY_MAX ? PROBABILITY_MAX : next;
}

static void update_queue(struct freebsd_l4s *s, struct aqm_bottleneck *b, size_t queue)
{
	struct pie *q = &s->queues[queue];

	if (q->fifo.bytes == 0)
		q->delay = 0;
	int64_t next = next_probability(s, q);
	double wanted = (double)next / 0x1p31;
	double set = aqm_queue_set(b, &(struct aqm_control_step){
									  .controller = queue,
									  .queue = queue,
									  .now = (double)q->probability / 0x1p31,
									  .next = wanted,
									  .reference = wanted, /* as it is set: an integer law of its own */
									  .delay = q->delay * AQM_US,
									  .last_delay = q->old_delay * AQM_US,
								  });
	q->probability = b->hook && b->hook->update ? (int64_t)(set * (double)PROBABILITY_MAX) : next;
	q->old_delay = q->delay;
	q->burst = q->burst > s->tupdate ? q->burst - s->tupdate : 0;
	q->due += s->tupdate * AQM_US;
}

/* Each active queue has a timer of its own, from its activation on. */
static aqm_time update(void *state, struct aqm_bottleneck *b)
{
	struct freebsd_l4s *s = state;
	aqm_time next = b->now + s->tupdate * AQM_US;

	for (size_t i = 0; i < AQM_QUEUES; i++) {
		struct pie *q = &s->queues[i];

		if (!(q->sflags & ACTIVE))
			continue;
		while (q->due <= b->now)
			update_queue(s, b, i);
		if (q->due < next)
			next = q->due;
	}
	return next;
}

static double probability(const void *state, size_t queue)
{
	return (double)((const struct freebsd_l4s *)state)->queues[queue].probability / 0x1p31;
}

static void backlog(const void *state, uint64_t bytes[AQM_QUEUES], uint64_t packets[AQM_QUEUES])
{
	const struct freebsd_l4s *s = state;

	for (size_t i = 0; i < AQM_QUEUES; i++) {
		bytes[i] = s->queues[i].fifo.bytes;
		packets[i] = s->queues[i].fifo.packets;
	}
}

const struct aqm_qdisc_type aqm_qdisc_freebsd_l4s = {
	.name = "freebsd-l4s",
	.help = "the L4S scheduler of the paper's FreeBSD kernel, quirks included",
	.queue_names = {"C", "L"},
	.keeps_records = true,
	.bytes = sizeof(struct freebsd_l4s),
	.init = init,
	.enqueue = enqueue,
	.dequeue = dequeue,
	.update = update,
	.probability = probability,
	.backlog = backlog,
};
