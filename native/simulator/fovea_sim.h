// What the simulator offers beside the driver API: settings, reports and counters, for tests. Find these with dlsym.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// Changes one setting for what comes after, by the name of its environment variable: ("FOVEA_SIM_SEED", "7").
// The number of devices, their memory and the compute capability count from the next cuInit and module load on.
// 0 when done; 1 and a line on stderr when there is no such setting or value.
int fovea_sim_configure(const char* name, const char* value);

// Everything that launches have reported since the last fovea_sim_clear, as text, one report per paragraph; empty when
// there was nothing. Valid until the next call.
const char* fovea_sim_reports(void);
int fovea_sim_report_count(void);

// One JSON object per launch since the last fovea_sim_clear, one per line, as FOVEA_SIM_COUNTERS gets them:
// {"kernel":"name","grid":[1,1,1],"block":[32,1,1],"sharedBytes":0,"reports":["race-shared"],"counters":{…}}
const char* fovea_sim_counters(void);

// Forgets reports and counters. Does not mend a failed context: cuDevicePrimaryCtxReset does.
void fovea_sim_clear(void);

#ifdef __cplusplus
}
#endif
