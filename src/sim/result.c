/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The figures of a run, and how they are shown.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/size.h"
#include "base/utf8.h"
#include "sim/run.h"

/* ---- figures ---- */

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static void fill_queue(const struct aqm_bottleneck *b, size_t i, uint64_t queued, struct aqm_queue_result *q)
{
	const struct aqm_queue_stats *s = &b->queues[i];

	*q = (struct aqm_queue_result){
		.name = b->type->queue_names[i],
		.delay = aqm_histogram_quantiles(&s->delay, 1e6),
		.arrived = s->arrived - s->at_warmup[0],
		.departed = s->departed - s->at_warmup[1],
		.dropped = s->dropped - s->at_warmup[2],
		.marked = s->marked - s->at_warmup[3],
		.all_arrived = s->arrived,
		.all_departed = s->departed,
		.all_dropped = s->dropped,
		.queued = queued,
	};
	aqm_histogram_cdf(&s->delay, 1e6, q->cdf);
	q->mark_probability = share(q->marked, q->departed);
	q->drop_probability = share(q->dropped, q->departed + q->dropped);
}

/* Seconds after the warm-up in which a flow was to send. */
static double active_seconds(const struct aqm_run *run, const struct aqm_flow *flow)
{
	double from = fmax((double)flow->started * 1e-9, run->scenario->warmup), to = run->scenario->seconds;

	if (flow->stop > 0)
		to = fmin(to, (double)flow->stop * 1e-9);
	return to > from ? to - from : 0;
}

static void fill_flow(const struct aqm_run *run, const struct aqm_flow *flow, struct aqm_flow_result *r)
{
	double seconds = active_seconds(run, flow), samples = (double)flow->rtt_count;

	*r = (struct aqm_flow_result){
		.group = flow->group,
		.l4s = flow->codepoint == AQM_ECT1,
		.rtt_ms = (double)flow->rtt * 1e-6,
		.sent = flow->next - flow->warm[0],
		.received = flow->rx_received - flow->warm[1],
		.marked = flow->rx_marked - flow->warm[2],
		.lost = flow->lost > flow->warm[3] ? flow->lost - flow->warm[3] : 0,
		.rtt_mean_ms = flow->cc && samples > 0 ? flow->rtt_sum / samples * 1e-6 : NAN,
		.cwnd = flow->cc && samples > 0 ? flow->cwnd_sum / samples : NAN,
	};
	snprintf(r->cc, sizeof r->cc, "%s", flow->settings->cc);
	r->goodput_mbps = seconds > 0 ? (double)r->received * flow->payload * 8e-6 / seconds : 0;
}

static void fill_fairness(const struct aqm_run *run, struct aqm_sim_result *result)
{
	double sums[2] = {0}, sum = 0, squares = 0;
	size_t counts[2] = {0}, n = 0;

	for (size_t i = 0; i < result->flow_count; i++) {
		const struct aqm_flow_result *r = &result->flows[i];

		if (!run->flows[i]->cc)
			continue;
		sums[r->l4s] += r->goodput_mbps;
		counts[r->l4s]++;
		sum += r->goodput_mbps;
		squares += r->goodput_mbps * r->goodput_mbps;
		n++;
	}
	result->rate_ratio =
		counts[0] && counts[1] && sums[0] > 0 ? sums[1] / (double)counts[1] / (sums[0] / (double)counts[0]) : NAN;
	result->jain = n && squares > 0 ? sum * sum / ((double)n * squares) : NAN;
}

int aqm_result_fill(struct aqm_run *run, struct aqm_sim_result *result)
{
	const struct aqm_bottleneck *b = &run->bottleneck;
	uint64_t bytes[AQM_QUEUES] = {0}, packets[AQM_QUEUES] = {0}, left = 0;
	double capacity = run->capacity - run->warm_capacity;

	result->flows = aqm_calloc_array(run->lasting, sizeof *result->flows);
	result->web = aqm_calloc_array(run->web_count, sizeof *result->web);
	if (!result->flows || !result->web)
		return AQM_ERUN;
	snprintf(result->aqm, sizeof result->aqm, "%s", b->type->name);
	snprintf(result->scenario, sizeof result->scenario, "%s", run->scenario->name);
	result->seconds = run->scenario->seconds;
	b->type->backlog(b->state, bytes, packets);
	for (size_t i = 0; i < AQM_QUEUES && b->type->queue_names[i]; i++) {
		fill_queue(b, i, packets[i], &result->queues[result->queue_count++]);
		result->packets += b->queues[i].departed;
		left += b->queues[i].departed_bytes - b->queues[i].at_warmup[4];
	}
	result->utilisation = capacity > 0 ? (double)left * 8 / capacity : 0;
	for (size_t i = 0; i < run->lasting; i++)
		fill_flow(run, run->flows[i], &result->flows[result->flow_count++]);
	fill_fairness(run, result);
	for (size_t i = 0; i < run->web_count; i++) {
		const struct aqm_web *web = run->webs[i];

		result->web[result->web_count++] =
			(struct aqm_web_result){web->group, web->started, web->finished, aqm_histogram_quantiles(&web->times, 1e9)};
	}
	result->series = run->points;
	result->point_count = run->point_count;
	run->points = NULL;
	result->late_events = run->events.late;
	result->records = b->records;
	result->packets_peak = run->pool.peak;
	return AQM_OK;
}

void aqm_sim_result_release(struct aqm_sim_result *result)
{
	free(result->flows);
	free(result->web);
	free(result->series);
	*result = (struct aqm_sim_result){0};
}

/* ---- JSON ---- */

/* JSON knows no NaN. */
static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *quantiles_json(const struct aqm_quantiles *q)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "mean", number(q->mean), "p50", number(q->p50), "p95", number(q->p95),
	                 "p99", number(q->p99), "p999", number(q->p999));
}

static json_t *queues_json(const struct aqm_sim_result *r)
{
	json_t *queues = json_object();

	for (size_t i = r->queue_count; i-- > 0;) {
		const struct aqm_queue_result *q = &r->queues[i];

		json_object_set_new(queues, q->name,
		                    json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "delay_ms", quantiles_json(&q->delay),
		                              "mark_probability", number(q->mark_probability), "drop_probability",
		                              number(q->drop_probability), "arrived", (json_int_t)q->arrived, "departed",
		                              (json_int_t)q->departed, "marked", (json_int_t)q->marked, "dropped",
		                              (json_int_t)q->dropped, "queued", (json_int_t)q->queued));
	}
	return queues;
}

static json_t *flows_json(const struct aqm_sim_result *r)
{
	json_t *flows = json_array();

	for (size_t i = 0; i < r->flow_count; i++) {
		const struct aqm_flow_result *f = &r->flows[i];

		json_array_append_new(
			flows, json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "cc", f->cc, "l4s", f->l4s, "rtt_ms",
		                     number(f->rtt_ms), "goodput_mbps", number(f->goodput_mbps), "rtt_mean_ms",
		                     number(f->rtt_mean_ms), "cwnd", number(f->cwnd), "sent", (json_int_t)f->sent, "received",
		                     (json_int_t)f->received, "marked", (json_int_t)f->marked, "lost", (json_int_t)f->lost));
	}
	return flows;
}

static int format_json(const struct aqm_sim_result *r, char **text)
{
	char *aqm = aqm_utf8_text(r->aqm); /* "student:FILE" */
	json_t *root =
		json_pack("{s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "aqm", aqm ? aqm : "", "scenario", r->scenario,
	              "seconds", number(r->seconds), "packets", (json_int_t)r->packets, "wall_s", number(r->wall_s),
	              "utilisation", number(r->utilisation), "rate_ratio", number(r->rate_ratio), "jain", number(r->jain),
	              "queues", queues_json(r), "flows", flows_json(r));

	if (root && r->web_count) {
		json_t *web = json_array();

		for (size_t i = 0; i < r->web_count; i++)
			json_array_append_new(web,
			                      json_pack("{s:I, s:I, s:I, s:o}", "group", (json_int_t)r->web[i].group, "started",
			                                (json_int_t)r->web[i].started, "finished", (json_int_t)r->web[i].finished,
			                                "completion_s", quantiles_json(&r->web[i].time)));
		json_object_set_new(root, "web", web);
	}
	if (root && r->asked)
		json_object_set_new(
			root, "decisions",
			json_pack("{s:I, s:I}", "asked", (json_int_t)r->asked, "differed", (json_int_t)r->differed));
	*text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
	json_decref(root);
	free(aqm);
	return *text ? AQM_OK : aqm_error_set(AQM_ERUN, "cannot write the figures as JSON");
}

/* ---- text ---- */

static void print_text(const struct aqm_sim_result *r, FILE *out)
{
	fprintf(out, "%s%s%s: %g s, %llu packets in %.2f s (%.2f million a second)\n", r->scenario,
	        *r->scenario ? ", " : "", r->aqm, r->seconds, (unsigned long long)r->packets, r->wall_s,
	        r->wall_s > 0 ? (double)r->packets / r->wall_s * 1e-6 : 0);
	fprintf(out, "utilisation %.2f %%", 100 * r->utilisation);
	if (isfinite(r->jain))
		fprintf(out, "   Jain %.3f", r->jain);
	if (isfinite(r->rate_ratio))
		fprintf(out, "   L4S/classic rate ratio %.2f", r->rate_ratio);
	fprintf(out, "\n\nqueue   delay ms: mean       P50       P95       P99     P99.9    marked %%  dropped %%\n");
	for (size_t i = r->queue_count; i-- > 0;) {
		const struct aqm_queue_result *q = &r->queues[i];

		fprintf(out, "%-10s %10.3f %9.3f %9.3f %9.3f %9.3f %10.4f %10.4f\n", q->name, q->delay.mean, q->delay.p50,
		        q->delay.p95, q->delay.p99, q->delay.p999, 100 * q->mark_probability, 100 * q->drop_probability);
	}
	if (r->flow_count)
		fprintf(out, "\nflow         RTT ms   goodput Mb/s  seen RTT ms     window    marked %%      lost %%\n");
	for (size_t i = 0; i < r->flow_count; i++) {
		const struct aqm_flow_result *f = &r->flows[i];

		fprintf(out, "%-10s %8.4g %14.3f %12.3f %10.1f %11.4f %11.4f\n", f->cc, f->rtt_ms, f->goodput_mbps,
		        f->rtt_mean_ms, f->cwnd, 100 * share(f->marked, f->received), 100 * share(f->lost, f->sent));
	}
	if (r->web_count)
		fprintf(out, "\nshort flows   started  finished   time s: mean       P50       P95       P99\n");
	for (size_t i = 0; i < r->web_count; i++)
		fprintf(out, "group %-6zu %9llu %9llu %14.4f %9.4f %9.4f %9.4f\n", r->web[i].group,
		        (unsigned long long)r->web[i].started, (unsigned long long)r->web[i].finished, r->web[i].time.mean,
		        r->web[i].time.p50, r->web[i].time.p95, r->web[i].time.p99);
	if (r->asked)
		fprintf(out, "\n%llu decisions asked for, %llu of them other than the rules'\n", (unsigned long long)r->asked,
		        (unsigned long long)r->differed);
}

int aqm_sim_format(const struct aqm_sim_result *result, bool json, char **text)
{
	size_t bytes;

	if (json)
		return format_json(result, text);
	FILE *out = open_memstream(text, &bytes);
	if (!out)
		return aqm_error_errno(AQM_ERUN, "cannot write the figures");
	print_text(result, out);
	return fclose(out) == 0 ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot write the figures");
}
