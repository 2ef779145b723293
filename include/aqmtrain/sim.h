/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The packet simulator: senders with congestion controls, one bottleneck with a queue discipline, and what came of it.
 *
 *   senders ──► queue discipline ─► link ──► delay, jitter ──► receivers
 *      ▲                                                          │
 *      └───────────── delay ◄─────── (the same queue) ◄───────────┘ acknowledgements
 *
 * Deterministic: the same scenario and seed give the same bytes. Times in settings are milliseconds and seconds,
 * rates Mb/s; inside, the clock counts nanoseconds.
 */
#ifndef AQMTRAIN_SIM_H
#define AQMTRAIN_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "aqmtrain/config.h"
#include "aqmtrain/error.h"
#include "aqmtrain/policy.h"
#include "aqmtrain/pool.h"

struct aqm_ranks;

/* ---- scenarios ---- */

enum aqm_acks { AQM_ACKS_FREE, AQM_ACKS_SHARED };
enum aqm_switch { AQM_OFF, AQM_ON };
enum aqm_recovery { AQM_RECOVERY_QUICK, AQM_RECOVERY_DUPACKS };
enum aqm_ecn { AQM_ECN_OFF, AQM_ECN_ECT0, AQM_ECN_ECT1, AQM_ECN_AUTO };
enum { AQM_SIM_NAME_MAX = 64, AQM_SIM_FLOWS_MAX = 4096, AQM_SIM_RATES_MAX = 256 };

/* Settings of a queue discipline; a NAN is the discipline's own default. Delays in ms. */
struct aqm_aqm_settings {
	char kind[AQM_SIM_NAME_MAX]; /* aqm.kind: a row of the table of disciplines */
	double target;               /* aqm.target */
	double tupdate;              /* aqm.tupdate */
	double alpha, beta;          /* aqm.alpha, aqm.beta, in Hz */
	double limit;                /* aqm.limit, packets */
	double coupling;             /* aqm.coupling: k */
	double step;                 /* aqm.step: L queue, marking begins (ramp) or steps (linux) here */
	double range;                /* aqm.range: of the ramp */
	double classic_share;        /* aqm.classic_share: weight of the classic queue, 0 to 1 */
	double interval;             /* aqm.interval of codel */
	double quantum;              /* aqm.quantum, bytes */
	double max_burst;            /* aqm.max_burst */
	double max_ecnth;            /* aqm.max_ecnth: above this probability ECN is dropped too */
	double tick;                 /* aqm.tick: resolution of the clock; 0 = none */
	double link_tick;            /* aqm.link_tick: the link serves in steps of this; 0 = packet by packet */
	double ecn;                  /* aqm.ecn: 1 marks instead of dropping, 0 does not */
};

struct aqm_rate_change {
	double at;   /* s */
	double rate; /* Mb/s */
};

/* One group of equal flows. */
struct aqm_flow_settings {
	char cc[AQM_SIM_NAME_MAX]; /* a congestion control, or udp */
	int64_t count;
	double rtt;                /* ms, without queueing */
	double start, stop;        /* s; stop 0 = at the end */
	enum aqm_ecn ecn;          /* auto: what the congestion control asks for */
	double rate;               /* udp: Mb/s of each flow */
	double on, off;            /* udp, ms: bursts of `on`, silences of `off`; off 0 = always on */
	double arrivals;           /* web: flows a second; 0 = one flow that has no end */
	double size_min, size_max; /* web: kB, bounded Pareto */
	double size_shape;         /* web */
	int64_t packet;            /* bytes of a full packet with its headers */
	int64_t ack_every;         /* packets an acknowledgement */
	enum aqm_switch hystart;   /* slow start ends when round trips become longer: HyStart++, RFC 9406 */
	enum aqm_switch handshake; /* data follow an empty packet and its acknowledgement */
	enum aqm_recovery recovery; /* quick: losses are seen at once, also of what is sent again, and lost tails are probed
	                               for, as by RACK; dupacks: the third packet behind shows one, and what is lost twice
	                               waits for the timer (RFC 6675 and 6298, as FreeBSD's default stack) */
};

struct aqm_scenario {
	char name[AQM_SIM_NAME_MAX];
	double seconds;
	double warmup;             /* s that no figure counts */
	double series;             /* ms between points of the time series */
	uint64_t seed;
	struct {
		double rate;           /* Mb/s */
		double delay;          /* ms, added to every flow's round trip */
		double jitter;         /* ms: each packet is late by up to this much, in order */
		enum aqm_acks acks;    /* free = on a path of their own; shared = through the same queue */
		int64_t passes;        /* how often each packet goes through the queue, each time with `delay` behind it */
		struct aqm_rate_change *changes; /* owned, in time order */
		size_t change_count;
	} link;
	struct aqm_aqm_settings aqm;
	struct aqm_flow_settings *flows; /* owned */
	size_t flow_count;               /* groups */
};

/* Defaults, no flows. Release with aqm_scenario_release (harmless on a zeroed struct). */
void aqm_scenario_init(struct aqm_scenario *scenario);
void aqm_scenario_release(struct aqm_scenario *scenario);
/* Read YAML over what is there; AQM_EUSAGE with "file:line:column: ..." on any fault. Input is untrusted. */
int aqm_scenario_read(struct aqm_scenario *scenario, const char *path);
int aqm_scenario_parse(struct aqm_scenario *scenario, const char *name, const void *data, size_t bytes);
/* "key=value": name, seconds, link.rate, aqm.target, ... and flows.rtt for all groups. */
int aqm_scenario_set(struct aqm_scenario *scenario, const char *assignment);
/* What no single value can show: flows without end, names that nothing has, changes out of order. AQM_EUSAGE. */
int aqm_scenario_check(const struct aqm_scenario *scenario);
/* Deep copy. */
int aqm_scenario_copy(struct aqm_scenario *to, const struct aqm_scenario *from);
/* As YAML that reads back to the same scenario; owned by the caller. */
int aqm_scenario_dump(const struct aqm_scenario *scenario, char **yaml);
/* A group of flows with its defaults, behind the others; NULL without memory. */
struct aqm_flow_settings *aqm_scenario_add_flows(struct aqm_scenario *scenario, const char *cc, int64_t count,
                                                 double rtt);

/* Names of the queue disciplines and congestion controls, NULL-terminated, with a line of help each. */
const char *aqm_qdisc_name(size_t index, const char **help);
const char *aqm_cc_name(size_t index, const char **help);

/* ---- grids ---- */

enum { AQM_GRID_CELLS_MAX = 100000, AQM_CELL_NAME_MAX = 512 };

/* Scenarios that differ along axes: the product of the axes' values, and at each point a run a seed. As YAML:
 *
 *   name: steady
 *   scenario: ../scenarios/steady.yaml   what cells begin with, from the grid's own folder; or, inline, `base: {...}`
 *   axes:                                in the order of the file, the last one changing fastest; then seeds
 *     link.rate: [4, 40]                 any key of aqm_scenario_set(), or
 *     scenario: [web.yaml, steady.yaml]  files to begin with,
 *     mix: [one, two]                    names in `mixes`: the flows of the cell,
 *     epsilon: [0, 0.1]                  share of random actions
 *   mixes:
 *     one: [{cc: prague, rtt: 10}, {cc: cubic, rtt: 10}]
 *   seeds: 3                             1, 2, 3; or a list: runs of each point, the axis that changes fastest
 *   draws: 8                             so many cells for each point, which differ in what is random of the AQM
 *   random:                              drawn a cell: evenly on a logarithmic scale where the range begins above 0,
 *     aqm.target: [5, 30]                else evenly
 *     epsilon: [0, 0.3]
 *
 * A cell is the scenario, then the mix, then the other axes, then what is random. */
struct aqm_grid;

struct aqm_axis {
	const char *key;           /* "link.rate", "scenario", "mix", "epsilon", "draw", "seed" */
	const char *const *values; /* as in the file; of scenarios, the file's name without folder and ending */
	size_t count;
};

struct aqm_cell {
	char name[AQM_CELL_NAME_MAX]; /* "link.rate=4 mix=one seed=1": axes of more than one value, and the seed */
	struct aqm_scenario scenario; /* owned; it has passed aqm_scenario_check() */
	double epsilon;
};

/* Overrides are "key=value" or "key=value,value": an axis of these values in the place of whatever the file says of
 * the key; `seeds` and `draws` too ("seeds=2" counts, "seeds=7,9" names). AQM_EUSAGE with "file:line:column: ..." on any fault, of
 * any cell. Input is untrusted. */
int aqm_grid_load(struct aqm_grid **out, const char *path, const char *const *overrides, size_t override_count);
/* The same from memory, and then without other files: `scenario` is refused. */
int aqm_grid_parse(struct aqm_grid **out, const char *name, const void *data, size_t bytes,
                   const char *const *overrides, size_t override_count);
void aqm_grid_free(struct aqm_grid *grid);
const char *aqm_grid_name(const struct aqm_grid *grid);
size_t aqm_grid_cells(const struct aqm_grid *grid);
/* Axes in their order, the last is "seed"; lifetime of the grid. */
size_t aqm_grid_axes(const struct aqm_grid *grid);
struct aqm_axis aqm_grid_axis(const struct aqm_grid *grid, size_t axis);
/* Which value of the axis a cell has: cell / (values of all later axes) % values. */
size_t aqm_grid_place(const struct aqm_grid *grid, size_t cell, size_t axis);
/* Cells of a group have the same link, traffic and seed, also where those are drawn: they differ in the axes aqm.*,
 * epsilon and draw, and in what is random of these. */
size_t aqm_grid_group(const struct aqm_grid *grid, size_t cell);
/* Make a cell: a pure function of (grid, index). Release it, also after an error. */
int aqm_grid_cell(const struct aqm_grid *grid, size_t index, struct aqm_cell *cell);
void aqm_cell_release(struct aqm_cell *cell);

/* ---- deciding in the queue ---- */

/* A record as the kernel would log it, by place (pool/fields.h), at the moment of the decision. */
struct aqm_decision {
	double time;                 /* s since the start */
	size_t queue;                /* 0 classic, 1 L4S */
	const uint64_t *fields;      /* all 24 in the order of aqm_fields(), as integers; action_logged is 0 */
	enum aqm_action rule;        /* what the rule-based AQM would do */
};
/* At the end of an update interval of a queue: means over the interval's packets, by the names that
 * aqm_pool_updates() gives. */
struct aqm_update {
	double time;
	size_t controller;           /* whose p' it is: its queue's number, or 0 where one controller serves both */
	size_t queue;                /* whose interval is told */
	size_t packets;
	double now;                  /* p' that was in force, 0 to 1 */
	double rule;                 /* what the rule-based AQM would set next */
	double reference;            /* what it would with its default settings */
	double (*feature)(const struct aqm_update *update, const char *name); /* NAN for an unknown name */
	const void *state;
};

/* Who decides in the queue's place. Either function may be NULL: the rules then decide. Errors stop the run. */
struct aqm_sim_hook {
	void *context;
	int (*decide)(void *context, const struct aqm_decision *decision, enum aqm_action *action);
	int (*update)(void *context, const struct aqm_update *update, double *next);
	double delay;                /* s from an update to when its answer is applied */
};

/* With probability epsilon another action than the rule's, drawn evenly; p' then becomes anything up to its double. */
struct aqm_epsilon;
int aqm_epsilon_new(struct aqm_epsilon **out, struct aqm_sim_hook *hook, double epsilon, uint64_t seed);
void aqm_epsilon_free(struct aqm_epsilon *epsilon);

/* A trained policy, in its own control mode. `every`: it decides one packet in so many, the rules the others. `delay`
 * in ms: from the state to when the answer is applied; of packets, so much time passes before the next one is asked
 * for, and the rules decide meanwhile. Negative: as long as the decision really takes here (then runs differ). */
struct aqm_sim_policy;
int aqm_sim_policy_new(struct aqm_sim_policy **out, struct aqm_sim_hook *hook, const char *path, const char *base_path,
                       enum aqm_device_kind device, int64_t every, double delay);
/* The same on a policy that is loaded, and outlives it: one simulation at a time. target_return as aqm_decider_new has
 * it. */
int aqm_sim_policy_share(struct aqm_sim_policy **out, struct aqm_sim_hook *hook, aqm_policy *policy, int64_t every,
                         double delay, double target_return);
void aqm_sim_policy_free(struct aqm_sim_policy *policy);
/* From now on the rules decide and the policy only looks on: so many of their decisions a controller, from `from` (s of
 * the simulation) on, go into its context. 0: it decides (again), with that behind it. Counts and return begin anew. */
void aqm_sim_policy_watch(struct aqm_sim_policy *policy, uint64_t decisions, double from);
/* Decisions looked at, of the controller that had most. */
uint64_t aqm_sim_policy_watched(const struct aqm_sim_policy *policy);
/* Mean return-to-go of its decisions, by the policy's own reward and horizon and in units of target returns; NAN
 * without any. */
double aqm_sim_policy_return(const struct aqm_sim_policy *policy);
/* How often it was asked, and how often its answer was not the rule's. */
void aqm_sim_policy_counts(const struct aqm_sim_policy *policy, uint64_t *asked, uint64_t *differed);

/* ---- runs ---- */

struct aqm_quantiles {
	double mean, p50, p95, p99, p999;
};

/* Shares at which the distribution of delays is kept: 0.01 to 0.99, then 0.995, 0.999, 0.9999. */
enum { AQM_CDF_POINTS = 102 };
double aqm_cdf_share(size_t point);

struct aqm_queue_result {
	const char *name;            /* "L", "C", "Q": static */
	struct aqm_quantiles delay;  /* ms, of packets that left */
	double cdf[AQM_CDF_POINTS];  /* ms: that share of them waited no longer; NAN without any */
	double mark_probability, drop_probability;
	uint64_t arrived, departed, marked, dropped; /* packets, after the warm-up */
	/* of the whole run: all_arrived = all_departed + all_dropped + queued */
	uint64_t all_arrived, all_departed, all_dropped, queued;
};

struct aqm_flow_result {
	char cc[AQM_SIM_NAME_MAX];
	size_t group;
	bool l4s;                    /* sends ECT(1) */
	double rtt_ms;
	double goodput_mbps;
	double rtt_mean_ms;          /* as measured by the sender; NAN for udp */
	double cwnd;                 /* mean, packets; NAN for udp */
	uint64_t sent, received, marked, lost; /* packets, after the warm-up */
};

/* Completion times of one group of short flows, s. */
struct aqm_web_result {
	size_t group;
	uint64_t started, finished;
	struct aqm_quantiles time;
};

/* One point of the time series. */
struct aqm_sim_point {
	double time;                 /* s: its end */
	double delay[2], delay_peak[2]; /* ms, by queue */
	double probability[2];       /* p' or what stands for it */
	uint32_t backlog[2];         /* bytes */
	uint32_t marked[2], dropped[2], departed[2];
	double rate;                 /* Mb/s that left */
};

struct aqm_sim_result {
	char aqm[AQM_SIM_NAME_MAX + 16];
	char scenario[AQM_SIM_NAME_MAX];
	double seconds, wall_s;
	uint64_t packets;            /* that left the queue, in the whole run */
	double utilisation;          /* of the link, after the warm-up */
	double rate_ratio;           /* mean goodput of L4S flows over that of classic ones; NAN without both */
	double jain;                 /* of the goodputs of lasting responsive flows; NAN without any */
	struct aqm_queue_result queues[2];
	size_t queue_count;
	struct aqm_flow_result *flows; /* owned: lasting flows */
	size_t flow_count;
	struct aqm_web_result *web;  /* owned */
	size_t web_count;
	struct aqm_sim_point *series; /* owned */
	size_t point_count;
	uint64_t late_events;        /* set for a time that had passed: 0, or the engine is broken */
	uint64_t records;            /* decisions logged */
	size_t packets_peak;         /* alive at once */
	uint64_t asked, differed;    /* of a policy */
};

/* Takes the records of a run, in order: fields as in struct aqm_decision, actions as they happened and as logged. */
struct aqm_sim_sink {
	void *context;
	int (*record)(void *context, double time, const uint64_t *fields, enum aqm_action action, enum aqm_action logged);
};

struct aqm_sim_options {
	const struct aqm_sim_hook *hook; /* may be NULL */
	const struct aqm_sim_sink *sink; /* may be NULL */
	const char *log_path;            /* kernel log; .gz and .bz2 compress; may be NULL */
	bool chatter;                    /* with the faults of real logs */
	bool progress;                   /* a bar with simulated time */
};

/* Run a scenario that aqm_scenario_check() likes. 0; AQM_EINTERRUPTED (nothing is left of the log); AQM_ERUN. */
int aqm_sim_run(const struct aqm_scenario *scenario, const struct aqm_sim_options *options,
                struct aqm_sim_result *result);
void aqm_sim_result_release(struct aqm_sim_result *result);
/* A table for people, or JSON; owned by the caller. */
int aqm_sim_format(const struct aqm_sim_result *result, bool json, char **text);
/* The time series: CSV, or HDF5 where the name ends in .h5. */
int aqm_sim_write_series(const struct aqm_sim_result *result, const char *path);

/* ---- collecting ---- */

struct aqm_collect_options {
	const char *output;          /* the pool */
	const struct aqm_grid *grid; /* a run a cell; or NULL, and runs are drawn: */
	const char *const *aqms;     /* kinds; NULL: those that keep records */
	size_t aqm_count;
	int64_t runs;                /* at least 1 */
	double seconds;              /* a run; 0: 10 */
	double epsilon;              /* share of random actions: of half the runs, drawn from 0 to this */
	bool randomise;              /* parameters of the AQM drawn around their defaults */
	uint64_t seed;
	int threads;                 /* of each rank; 0: all cores */
	struct aqm_ranks *ranks;     /* that collect together, each with these options; NULL: alone */
};
/* A pool of many short runs, an episode each, with the cell and what acted in it named in the pool. A run that is drawn
 * has rate, round trips, mix of flows, AQM with its settings, and epsilon from (seed, run). The result does not depend on
 * the number of threads or ranks. AQM_EINTERRUPTED leaves the runs that are done in `output`.unfinished, where the same call
 * finds them again; that file goes when the pool is whole. */
int aqm_sim_collect(const struct aqm_collect_options *options);

#endif
