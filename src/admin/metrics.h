/* Counters of a running server in the OpenMetrics text format. */
#pragma once
#include "base/buf.h"

/* status: what the control socket answers to CONTROL_STATUS, a line of fields for each role. Numbers alone are printed;
 * each is of the kind that admin/metrics.def gives it. */
void metrics_of_status(str status, struct buf *out);
