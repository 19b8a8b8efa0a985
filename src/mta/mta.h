/* The MTA's receiving half (port 25): adds its trace line and nothing else. Queue and push join here. */
#pragma once
#include "session/smtp_serve.h"

extern const struct smtp_agent mta_agent;
