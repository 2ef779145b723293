/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libaqmtrain: decisions of a trained policy or its student, inside another program.
 *
 *     aqm_controller *controller;
 *     struct aqm_record record = {0};
 *     enum aqm_action action;
 *     double probabilities[AQM_ACTIONS];
 *
 *     if (aqm_controller_open(&controller, "policy.bundle", NULL) != AQM_OK)
 *         complain(aqm_error_message());
 *     ...                                        for each packet: fill in the record of its queue, then
 *     if (aqm_controller_decide(controller, &record, &action, probabilities) == AQM_OK)
 *         ...                                    do it
 *     aqm_controller_close(controller);
 *
 * A controller belongs to one thread at a time; different controllers may be used by different threads at once. There
 * is no state besides controllers, but for each thread's last error message. The library prints nothing, never exits,
 * and installs no signal handler. Functions that can fail return AQM_OK or a negative code of enum aqm_error.
 * libaqmtrain(3) says more.
 */
#ifndef AQMTRAIN_AQMTRAIN_H
#define AQMTRAIN_AQMTRAIN_H

#include <stdbool.h>
#include <stdint.h>

/* Version of this header. Until 1.0 a new minor version may break programs; the library's name (soname) has both
 * numbers. */
#define AQMTRAIN_VERSION_MAJOR 0
#define AQMTRAIN_VERSION_MINOR 1
#define AQMTRAIN_VERSION_PATCH 0
/* For #if: AQMTRAIN_VERSION >= AQMTRAIN_VERSION_NUMBER(0, 2, 0) */
#define AQMTRAIN_VERSION_NUMBER(major, minor, patch) ((major)*10000 + (minor)*100 + (patch))
#define AQMTRAIN_VERSION AQMTRAIN_VERSION_NUMBER(AQMTRAIN_VERSION_MAJOR, AQMTRAIN_VERSION_MINOR, AQMTRAIN_VERSION_PATCH)

#if defined(__GNUC__)
#define AQM_API __attribute__((visibility("default")))
#else
#define AQM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the library that the program runs with, "0.1.0". Static. */
AQM_API const char *aqm_version(void);

/* ---- errors ---- */

enum aqm_error {
	AQM_OK = 0,
	AQM_ERUN = -1,         /* failed while running: no memory, disk full, numbers that are not finite */
	AQM_EUSAGE = -2,       /* a wrong call, or a wrong command line or config */
	AQM_EDATA = -3,        /* unusable input data: a damaged file, a base that is not the policy's */
	AQM_EINTERRUPTED = -4, /* interrupted, work saved */
	AQM_ENOTFOUND = -5,    /* no such key, tensor or field */
};

/* The calling thread's last message: one line, what failed, where, and what was expected; "" if none. Valid until the
 * thread's next error. */
AQM_API const char *aqm_error_message(void);

/* ---- records ---- */

/* What can be done with a packet. */
enum aqm_action { AQM_ENQUEUE, AQM_DROP, AQM_MARK };
enum { AQM_ACTIONS = 3 };

/* The state of a packet's queue at the moment of a decision, as the kernel logs it: the fields, units and widths of a
 * log line (dn_sched_l4s), in its order. The queue's numbers do not count the packet itself. Only the fields that the
 * policy was trained on are read (policy.features of its configuration); others may be left 0. */
struct aqm_record {
	uint32_t queue_type;        /* queue of the packet: 0 classic, 1 L4S */
	uint32_t qdelay_ref;        /* us; target delay */
	uint32_t tupdate;           /* us; interval between updates of drop_prob */
	uint32_t max_burst;         /* us; burst allowance at the start of a busy period */
	uint32_t max_ecnth;         /* 1/8192; drop probability above which marking gives way to dropping */
	uint32_t alpha;             /* 1/8192; weight of the delay's distance from its target */
	uint32_t beta;              /* 1/8192; weight of the delay's change */
	uint32_t flags;             /* 1 ECN, 2 CAPDROP, 4 ONOFF, 8 DEPRATEEST, 16 DERAND */
	uint32_t burst_allowance;   /* us; what is left of max_burst */
	uint32_t drop_prob;         /* 1/2^31 */
	uint32_t current_qdelay;    /* us; queueing delay now */
	uint32_t qdelay_old;        /* us; queueing delay at the update before */
	uint64_t accu_prob;         /* 1/2^31; sum of drop probabilities since the last drop or mark */
	uint32_t measurement_start; /* us; clock of the queue's measurements, modulo 2^32 */
	uint32_t avg_dq_time;       /* us; average time of a dequeue */
	uint32_t dq_count;          /* bytes dequeued in this measurement */
	uint32_t sflags;            /* 1 active, 2 in a measurement */
	uint64_t tot_pkts;          /* packets enqueued since the queue was made */
	uint64_t tot_bytes;         /* bytes enqueued since the queue was made */
	uint32_t length;            /* packets in the queue */
	uint32_t len_bytes;         /* bytes in the queue */
	uint32_t drops;             /* packets dropped since the queue was made */
	uint64_t pkt_len;           /* bytes of this packet */
	uint32_t action_logged;     /* enum aqm_action: what the queue's own rule says */
};

/* ---- controllers ---- */

/* One stream of decisions: a trained policy, or a student of one, and what it has seen of its queue. */
typedef struct aqm_controller aqm_controller;

/* Load what decides: a bundle (`aqmtrain export --bundle`), a policy file or run directory, or a student. A policy
 * needs its base model: `base_path`, or, if that is NULL, the path that the policy was trained with; the weights must
 * be the ones it was trained on. A student needs none. Computes on the CPU. AQM_EDATA when a file is unusable, AQM_ERUN
 * without memory; then *controller is NULL. */
AQM_API int aqm_controller_open(aqm_controller **controller, const char *path, const char *base_path);
/* NULL is allowed. */
AQM_API void aqm_controller_close(aqm_controller *controller);

/* Forget what was seen: the queue was emptied, or another one begins. */
AQM_API void aqm_controller_reset(aqm_controller *controller);

/* The return that decisions aim at from here on, in units of the reward of training; resets. NAN: the policy's own
 * target. A student has its teacher's target built in: AQM_EUSAGE. */
AQM_API int aqm_controller_aim(aqm_controller *controller, double target_return);

/* Whether it sets probabilities (control: update) instead of deciding on packets (control: packet). */
AQM_API bool aqm_controller_updates(const aqm_controller *controller);

/* control: packet. What to do with the packet of this record. probabilities (may be NULL) are those of enqueue, drop
 * and mark. AQM_EUSAGE for a controller that updates. */
AQM_API int aqm_controller_decide(aqm_controller *controller, const struct aqm_record *record, enum aqm_action *action,
                                  double probabilities[AQM_ACTIONS]);
/* What in the end happened to the packet of the last decision, where that is not what was decided (a packet that cannot
 * be marked, a full queue). Policies look back at it; without this call the decision is taken to have been carried out.
 * At most once a decision, and before the next. */
AQM_API int aqm_controller_observe(aqm_controller *controller, enum aqm_action happened);

/* control: update. A packet of the present update interval, and what happened to it. AQM_EUSAGE for a controller that
 * decides. */
AQM_API int aqm_controller_count(aqm_controller *controller, const struct aqm_record *record, enum aqm_action happened);
/* control: update, at the end of an update interval in which packets were counted: *next is the base probability p' (0
 * to 1) for the next interval. AQM_EUSAGE when none was counted: p' then stays what it is. */
AQM_API int aqm_controller_update(aqm_controller *controller, double *next);

#ifdef __cplusplus
}
#endif

#endif
