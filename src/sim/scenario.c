/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Scenarios: their table of settings, defaults, checks, and printing.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sim/qdisc.h"
#include "sim/flow.h"
#include "sim/scenario_table.h"

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define AT(field) offsetof(struct aqm_scenario, field)
#define OF_CHANGE(field) offsetof(struct aqm_rate_change, field)
#define OF_FLOW(field) offsetof(struct aqm_flow_settings, field)

/* clang-format off */
const struct aqm_setting aqm_settings[] = {
	{AQM_IN_SCENARIO, "name", AQM_SETTING_NAME, AT(name), 0, 0, NULL},
	{AQM_IN_SCENARIO, "seconds", AQM_SETTING_NUMBER, AT(seconds), 1e-3, 1e6, NULL},
	{AQM_IN_SCENARIO, "warmup", AQM_SETTING_NUMBER, AT(warmup), 0, 1e6, NULL},
	{AQM_IN_SCENARIO, "series", AQM_SETTING_NUMBER, AT(series), 1, 1e6, NULL},
	{AQM_IN_SCENARIO, "seed", AQM_SETTING_SEED, AT(seed), 0, 0, NULL},
	{AQM_IN_LINK, "rate", AQM_SETTING_NUMBER, AT(link.rate), 1e-3, 1e6, NULL},
	{AQM_IN_LINK, "delay", AQM_SETTING_NUMBER, AT(link.delay), 0, 1e5, NULL},
	{AQM_IN_LINK, "jitter", AQM_SETTING_NUMBER, AT(link.jitter), 0, 1e5, NULL},
	{AQM_IN_LINK, "acks", AQM_SETTING_WORD, AT(link.acks), 0, 0, WORDS("free", "shared")},
	{AQM_IN_LINK, "passes", AQM_SETTING_INT, AT(link.passes), 1, 4, NULL},
	{AQM_IN_CHANGE, "at", AQM_SETTING_NUMBER, OF_CHANGE(at), 0, 1e6, NULL},
	{AQM_IN_CHANGE, "rate", AQM_SETTING_NUMBER, OF_CHANGE(rate), 1e-3, 1e6, NULL},
	{AQM_IN_AQM, "kind", AQM_SETTING_NAME, AT(aqm.kind), 0, 0, NULL},
	{AQM_IN_AQM, "target", AQM_SETTING_NUMBER, AT(aqm.target), 1e-3, 1e4, NULL},
	{AQM_IN_AQM, "tupdate", AQM_SETTING_NUMBER, AT(aqm.tupdate), 0.1, 1e4, NULL},
	{AQM_IN_AQM, "alpha", AQM_SETTING_NUMBER, AT(aqm.alpha), 0, 1e3, NULL},
	{AQM_IN_AQM, "beta", AQM_SETTING_NUMBER, AT(aqm.beta), 0, 1e3, NULL},
	{AQM_IN_AQM, "limit", AQM_SETTING_NUMBER, AT(aqm.limit), 1, 1e7, NULL},
	{AQM_IN_AQM, "coupling", AQM_SETTING_NUMBER, AT(aqm.coupling), 0.1, 100, NULL},
	{AQM_IN_AQM, "step", AQM_SETTING_NUMBER, AT(aqm.step), 0, 1e4, NULL},
	{AQM_IN_AQM, "range", AQM_SETTING_NUMBER, AT(aqm.range), 0, 1e4, NULL},
	{AQM_IN_AQM, "classic_share", AQM_SETTING_NUMBER, AT(aqm.classic_share), 0, 1, NULL},
	{AQM_IN_AQM, "interval", AQM_SETTING_NUMBER, AT(aqm.interval), 1e-3, 1e5, NULL},
	{AQM_IN_AQM, "quantum", AQM_SETTING_NUMBER, AT(aqm.quantum), 64, 1e6, NULL},
	{AQM_IN_AQM, "max_burst", AQM_SETTING_NUMBER, AT(aqm.max_burst), 0, 5e3, NULL},
	{AQM_IN_AQM, "max_ecnth", AQM_SETTING_NUMBER, AT(aqm.max_ecnth), 0, 1, NULL},
	{AQM_IN_AQM, "tick", AQM_SETTING_NUMBER, AT(aqm.tick), 0, 1e3, NULL},
	{AQM_IN_AQM, "link_tick", AQM_SETTING_NUMBER, AT(aqm.link_tick), 0, 1e3, NULL},
	{AQM_IN_AQM, "ecn", AQM_SETTING_NUMBER, AT(aqm.ecn), 0, 1, NULL},
	{AQM_IN_FLOW, "cc", AQM_SETTING_NAME, OF_FLOW(cc), 0, 0, NULL},
	{AQM_IN_FLOW, "count", AQM_SETTING_INT, OF_FLOW(count), 1, AQM_SIM_FLOWS_MAX, NULL},
	{AQM_IN_FLOW, "rtt", AQM_SETTING_NUMBER, OF_FLOW(rtt), 0, 1e5, NULL},
	{AQM_IN_FLOW, "start", AQM_SETTING_NUMBER, OF_FLOW(start), 0, 1e6, NULL},
	{AQM_IN_FLOW, "stop", AQM_SETTING_NUMBER, OF_FLOW(stop), 0, 1e6, NULL},
	{AQM_IN_FLOW, "ecn", AQM_SETTING_WORD, OF_FLOW(ecn), 0, 0, WORDS("off", "ect0", "ect1", "auto")},
	{AQM_IN_FLOW, "rate", AQM_SETTING_NUMBER, OF_FLOW(rate), 1e-3, 1e6, NULL},
	{AQM_IN_FLOW, "on", AQM_SETTING_NUMBER, OF_FLOW(on), 0, 1e6, NULL},
	{AQM_IN_FLOW, "off", AQM_SETTING_NUMBER, OF_FLOW(off), 0, 1e6, NULL},
	{AQM_IN_FLOW, "arrivals", AQM_SETTING_NUMBER, OF_FLOW(arrivals), 0, 1e5, NULL},
	{AQM_IN_FLOW, "size_min", AQM_SETTING_NUMBER, OF_FLOW(size_min), 1e-3, 1e6, NULL},
	{AQM_IN_FLOW, "size_max", AQM_SETTING_NUMBER, OF_FLOW(size_max), 1e-3, 1e6, NULL},
	{AQM_IN_FLOW, "size_shape", AQM_SETTING_NUMBER, OF_FLOW(size_shape), 0.1, 10, NULL},
	{AQM_IN_FLOW, "packet", AQM_SETTING_INT, OF_FLOW(packet), 64, 65535, NULL},
	{AQM_IN_FLOW, "recovery", AQM_SETTING_WORD, OF_FLOW(recovery), 0, 0, WORDS("quick", "dupacks")},
	{AQM_IN_FLOW, "hystart", AQM_SETTING_WORD, OF_FLOW(hystart), 0, 0, WORDS("off", "on")},
	{AQM_IN_FLOW, "handshake", AQM_SETTING_WORD, OF_FLOW(handshake), 0, 0, WORDS("off", "on")},
	{AQM_IN_FLOW, "ack_every", AQM_SETTING_INT, OF_FLOW(ack_every), 1, 64, NULL},
};
/* clang-format on */
const size_t aqm_setting_count = sizeof aqm_settings / sizeof *aqm_settings;
_Static_assert(sizeof aqm_settings / sizeof *aqm_settings <= AQM_SETTINGS_MAX, "readers have a flag a setting");

/* ---- values ---- */

const struct aqm_setting *aqm_setting_find(enum aqm_setting_section section, const char *name, size_t bytes)
{
	for (size_t i = 0; i < aqm_setting_count; i++)
		if (aqm_settings[i].section == section && strlen(aqm_settings[i].name) == bytes &&
		    memcmp(aqm_settings[i].name, name, bytes) == 0)
			return &aqm_settings[i];
	return NULL;
}

const struct aqm_setting *aqm_setting_of_key(const char *key, size_t bytes)
{
	static const struct {
		const char *prefix;
		enum aqm_setting_section section;
	} sections[] = {{"link.", AQM_IN_LINK}, {"aqm.", AQM_IN_AQM}, {"flows.", AQM_IN_FLOW}, {"", AQM_IN_SCENARIO}};
	size_t i = 0, prefix;

	while (prefix = strlen(sections[i].prefix), bytes < prefix || memcmp(key, sections[i].prefix, prefix) != 0)
		i++;
	return aqm_setting_find(sections[i].section, key + prefix, bytes - prefix);
}

static int wrong(const struct aqm_setting *s, const char *text, const char *wanted)
{
	return aqm_error_set(AQM_EUSAGE, "'%s' wants %s, not '%.60s'", s->name, wanted, text);
}

static int store_name(const struct aqm_setting *s, char *out, const char *text)
{
	size_t bytes = strlen(text);

	if (bytes >= AQM_SIM_NAME_MAX)
		return wrong(s, text, "a name of at most 63 characters");
	for (size_t i = 0; i < bytes; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == '\'' || (unsigned char)text[i] > '~')
			return wrong(s, text, "a name of plain characters");
	memcpy(out, text, bytes + 1);
	return AQM_OK;
}

static int store_number(const struct aqm_setting *s, double *out, const char *text)
{
	char wanted[96], *end;
	double value = strtod(text, &end);

	snprintf(wanted, sizeof wanted, "a number from %g to %g", s->low, s->high);
	if (!*text || text[strspn(text, "+-.0123456789eE")] || end == text || *end || !isfinite(value) || value < s->low ||
	    value > s->high)
		return wrong(s, text, wanted);
	*out = value;
	return AQM_OK;
}

static int store_int(const struct aqm_setting *s, int64_t *out, const char *text)
{
	char wanted[96], *end;

	errno = 0;
	long long value = strtoll(text, &end, 10);
	snprintf(wanted, sizeof wanted, "a whole number from %.0f to %.0f", s->low, s->high);
	if (end == text || *end || errno || (double)value < s->low || (double)value > s->high)
		return wrong(s, text, wanted);
	*out = value;
	return AQM_OK;
}

static int store_seed(const struct aqm_setting *s, uint64_t *out, const char *text)
{
	errno = 0;
	uint64_t value = strtoull(text, NULL, 10);
	if (!*text || text[strspn(text, "0123456789")] || errno)
		return wrong(s, text, "a whole number, 0 or more");
	*out = value;
	return AQM_OK;
}

static int store_word(const struct aqm_setting *s, void *out, const char *text)
{
	char wanted[96] = "one of";

	for (unsigned i = 0; s->words[i]; i++) {
		if (strcmp(s->words[i], text) == 0) {
			memcpy(out, &i, sizeof i);
			return AQM_OK;
		}
		snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), " %s", s->words[i]);
	}
	return wrong(s, text, wanted);
}

int aqm_setting_store(const struct aqm_setting *setting, void *object, const char *text)
{
	void *field = (char *)object + setting->offset;

	switch (setting->kind) {
	case AQM_SETTING_NAME:
		return store_name(setting, field, text);
	case AQM_SETTING_NUMBER:
		return store_number(setting, field, text);
	case AQM_SETTING_INT:
		return store_int(setting, field, text);
	case AQM_SETTING_SEED:
		return store_seed(setting, field, text);
	case AQM_SETTING_WORD:
		return store_word(setting, field, text);
	}
	return AQM_OK;
}

/* ---- scenarios ---- */

void aqm_scenario_init(struct aqm_scenario *scenario)
{
	*scenario = (struct aqm_scenario){
		.seconds = 60,
		.series = 100,
		.seed = 1,
		.link.rate = 40,
		.link.passes = 1,
		.aqm = {"dualpi2", NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
	};
}

void aqm_scenario_release(struct aqm_scenario *scenario)
{
	free(scenario->link.changes);
	free(scenario->flows);
	scenario->link.changes = NULL;
	scenario->flows = NULL;
	scenario->link.change_count = scenario->flow_count = 0;
}

struct aqm_flow_settings *aqm_scenario_add_flows(struct aqm_scenario *scenario, const char *cc, int64_t count,
                                                 double rtt)
{
	struct aqm_flow_settings *flows =
		aqm_realloc_array(scenario->flows, scenario->flow_count + 1, sizeof *scenario->flows);

	if (!flows)
		return NULL;
	scenario->flows = flows;
	struct aqm_flow_settings *group = &flows[scenario->flow_count++];
	*group = (struct aqm_flow_settings){
		.count = count,
		.rtt = rtt,
		.ecn = AQM_ECN_AUTO,
		.size_min = 1,
		.size_max = 1000,
		.size_shape = 0.9,
		.packet = 1500,
		.ack_every = 2,
	};
	snprintf(group->cc, sizeof group->cc, "%s", cc);
	return group;
}

int aqm_scenario_copy(struct aqm_scenario *to, const struct aqm_scenario *from)
{
	*to = *from;
	to->flows = aqm_malloc_array(from->flow_count, sizeof *to->flows);
	to->link.changes = aqm_malloc_array(from->link.change_count, sizeof *to->link.changes);
	if (!to->flows || !to->link.changes) {
		aqm_scenario_release(to);
		return AQM_ERUN;
	}
	if (from->flow_count)
		memcpy(to->flows, from->flows, from->flow_count * sizeof *to->flows);
	if (from->link.change_count)
		memcpy(to->link.changes, from->link.changes, from->link.change_count * sizeof *to->link.changes);
	return AQM_OK;
}

int aqm_setting_assign(const struct aqm_setting *setting, struct aqm_scenario *scenario, const char *text)
{
	int code = AQM_OK;

	if (setting->section != AQM_IN_FLOW)
		return aqm_setting_store(setting, scenario, text);
	for (size_t f = 0; f < scenario->flow_count && code == AQM_OK; f++)
		code = aqm_setting_store(setting, &scenario->flows[f], text);
	return code;
}

int aqm_scenario_set(struct aqm_scenario *scenario, const char *assignment)
{
	const char *equals = strchr(assignment, '=');

	if (!equals || equals == assignment)
		return aqm_error_set(AQM_EUSAGE, "--set wants KEY=VALUE, not '%.80s'", assignment);
	const struct aqm_setting *setting = aqm_setting_of_key(assignment, (size_t)(equals - assignment));
	if (!setting)
		return aqm_error_set(AQM_EUSAGE, "--set: a scenario has no '%.*s'", (int)(equals - assignment), assignment);
	int code = aqm_setting_assign(setting, scenario, equals + 1);
	return code == AQM_OK ? AQM_OK : aqm_error_context(code, "--set");
}

/* ---- checks ---- */

static int check_flow(const struct aqm_scenario *scenario, size_t index)
{
	const struct aqm_flow_settings *f = &scenario->flows[index];
	bool udp = strcmp(f->cc, "udp") == 0;

	if (!udp && !aqm_cc_find(f->cc)) {
		char names[128] = "";

		for (size_t i = 0; aqm_cc_types[i]; i++)
			snprintf(names + strlen(names), sizeof names - strlen(names), "%s, ", aqm_cc_types[i]->name);
		return aqm_error_set(AQM_EUSAGE, "flows %zu: no congestion control '%s'; there are %sudp", index + 1, f->cc,
		                     names);
	}
	if (udp && f->rate <= 0)
		return aqm_error_set(AQM_EUSAGE, "flows %zu: udp wants a rate", index + 1);
	if (udp && f->off > 0 && f->on <= 0)
		return aqm_error_set(AQM_EUSAGE, "flows %zu: 'off' wants 'on' beside it", index + 1);
	if (udp && f->arrivals > 0)
		return aqm_error_set(AQM_EUSAGE, "flows %zu: udp flows have no end; 'arrivals' wants a congestion control",
		                     index + 1);
	if (f->arrivals > 0 && f->size_max <= f->size_min)
		return aqm_error_set(AQM_EUSAGE, "flows %zu: size_max must be above size_min", index + 1);
	if (f->stop > 0 && f->stop <= f->start)
		return aqm_error_set(AQM_EUSAGE, "flows %zu: they stop before they start", index + 1);
	if (f->start >= scenario->seconds)
		return aqm_error_set(AQM_EUSAGE, "flows %zu: they start when all is over, at %g s", index + 1, f->start);
	if (!udp && f->rtt + scenario->link.delay <= 0)
		return aqm_error_set(AQM_EUSAGE, "flows %zu: the round trip must take some time: 'rtt' or 'link.delay'",
		                     index + 1);
	return AQM_OK;
}

int aqm_scenario_check(const struct aqm_scenario *scenario)
{
	int64_t flows = 0;

	if (!aqm_qdisc_find(scenario->aqm.kind)) {
		char names[256] = "";

		for (size_t i = 0; aqm_qdisc_types[i]; i++)
			snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "",
			         aqm_qdisc_types[i]->name);
		return aqm_error_set(AQM_EUSAGE, "no AQM '%s'; there are %s", scenario->aqm.kind, names);
	}
	if (scenario->warmup >= scenario->seconds)
		return aqm_error_set(AQM_EUSAGE, "the warm-up of %g s takes the whole run of %g s", scenario->warmup,
		                     scenario->seconds);
	if (scenario->flow_count == 0)
		return aqm_error_set(AQM_EUSAGE, "the scenario has no flows");
	for (size_t i = 0; i < scenario->flow_count; i++) {
		int code = check_flow(scenario, i);

		if (code != AQM_OK)
			return code;
		flows += scenario->flows[i].count;
	}
	if (flows > AQM_SIM_FLOWS_MAX)
		return aqm_error_set(AQM_EUSAGE, "%lld flows are too many; at most %d", (long long)flows, AQM_SIM_FLOWS_MAX);
	for (size_t i = 1; i < scenario->link.change_count; i++)
		if (scenario->link.changes[i].at <= scenario->link.changes[i - 1].at)
			return aqm_error_set(AQM_EUSAGE, "link.changes must follow each other in time: %g s comes after %g s",
			                     scenario->link.changes[i].at, scenario->link.changes[i - 1].at);
	return AQM_OK;
}

/* ---- printing ---- */

static void print_value(const struct aqm_setting *s, const void *object, FILE *out)
{
	const void *field = (const char *)object + s->offset;
	unsigned word;

	switch (s->kind) {
	case AQM_SETTING_NAME:
		fprintf(out, "'%s'", (const char *)field);
		break;
	case AQM_SETTING_NUMBER:
		fprintf(out, "%.17g", *(const double *)field);
		break;
	case AQM_SETTING_INT:
		fprintf(out, "%" PRId64, *(const int64_t *)field);
		break;
	case AQM_SETTING_SEED:
		fprintf(out, "%" PRIu64, *(const uint64_t *)field);
		break;
	case AQM_SETTING_WORD:
		memcpy(&word, field, sizeof word);
		fputs(s->words[word], out);
		break;
	}
}

/* A number that is not set, or below what may be set, is left out. */
static bool is_set(const struct aqm_setting *s, const void *object)
{
	return s->kind != AQM_SETTING_NUMBER || *(const double *)(const void *)((const char *)object + s->offset) >= s->low;
}

static void print_section(enum aqm_setting_section section, const void *object, bool item, FILE *out)
{
	bool first = item;

	for (size_t i = 0; i < aqm_setting_count; i++) {
		const struct aqm_setting *s = &aqm_settings[i];

		if (s->section != section || !is_set(s, object))
			continue;
		fprintf(out, "%s%s: ", section == AQM_IN_SCENARIO ? "" : first ? "  - " : item ? "    " : "  ", s->name);
		print_value(s, object, out);
		fputc('\n', out);
		first = false;
	}
}

int aqm_scenario_dump(const struct aqm_scenario *scenario, char **yaml)
{
	size_t bytes;
	FILE *out = open_memstream(yaml, &bytes);

	if (!out)
		return aqm_error_errno(AQM_ERUN, "cannot print the scenario");
	print_section(AQM_IN_SCENARIO, scenario, false, out);
	fputs("link:\n", out);
	print_section(AQM_IN_LINK, scenario, false, out);
	if (scenario->link.change_count)
		fputs("  changes:\n", out);
	for (size_t i = 0; i < scenario->link.change_count; i++)
		print_section(AQM_IN_CHANGE, &scenario->link.changes[i], true, out);
	fputs("aqm:\n", out);
	print_section(AQM_IN_AQM, scenario, false, out);
	if (scenario->flow_count)
		fputs("flows:\n", out);
	for (size_t i = 0; i < scenario->flow_count; i++)
		print_section(AQM_IN_FLOW, &scenario->flows[i], true, out);
	return fclose(out) == 0 ? AQM_OK : aqm_error_errno(AQM_ERUN, "cannot print the scenario");
}
