/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool/episodes.h"

#include <math.h>
#include <string.h>

/* How far a count may go on in one step of the log and still be the same count. */
enum { NEXT_PACKETS = 64, SLACK_PACKETS = 2 };

void aqm_episode_judge_init(struct aqm_episode_judge *judge, double gap_seconds, uint64_t unit)
{
	memset(judge, 0, sizeof *judge);
	judge->gap_seconds = gap_seconds > 0 ? gap_seconds : AQM_EPISODE_GAP_SECONDS;
	judge->unit = unit;
	judge->new_set = true;
	judge->time = NAN;
}

void aqm_episode_judge_start_set(struct aqm_episode_judge *judge)
{
	judge->new_set = true;
}

static bool clock_jumps(struct aqm_episode_judge *judge, enum aqm_clock_kind clock, double time)
{
	if (isnan(time))
		return false;
	bool jumps = !isnan(judge->time) && (clock != judge->clock || fabs(time - judge->time) > judge->gap_seconds);
	judge->clock = clock;
	judge->time = time;
	return jumps;
}

static bool counter_falls(struct aqm_episode_judge *judge, uint8_t queue, uint64_t count)
{
	uint64_t old = judge->queues[queue].count, before = judge->queues[queue].before;

	if (!judge->queues[queue].known || judge->queues[queue].shared)
		return false;
	if (before && count >= before && count - before <= NEXT_PACKETS * judge->unit && count > old &&
	    count - old > NEXT_PACKETS * judge->unit) {
		judge->queues[queue].shared = true;
		return false;
	}
	return count < old && count < old / 2 && old - count > SLACK_PACKETS * judge->unit;
}

bool aqm_episode_starts(struct aqm_episode_judge *judge, enum aqm_clock_kind clock, double time, uint8_t queue,
                        const uint64_t *count)
{
	bool jumps = clock_jumps(judge, clock, time), falls = count && counter_falls(judge, queue, *count);
	bool starts = judge->new_set || jumps || falls;

	if (starts) {
		for (int q = 0; q < 256; q++) {
			judge->queues[q].before = falls ? judge->queues[q].count : 0;
			judge->queues[q].known = false;
			judge->queues[q].shared &= falls;
		}
		judge->new_set = false;
	}
	if (count) {
		judge->queues[queue].known = true;
		judge->queues[queue].count = *count;
	}
	return starts;
}
