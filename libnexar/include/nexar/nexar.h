/** nexar/nexar.h - all public headers. */
#ifndef NEXAR_NEXAR_H
#define NEXAR_NEXAR_H

#include "nexar/base.h"
#include "nexar/cluster.h"
#include "nexar/coll.h"
#include "nexar/comm.h"
#include "nexar/config.h"
#include "nexar/conn.h"
#include "nexar/elastic.h"
#include "nexar/node.h"
#include "nexar/op.h"
#include "nexar/prepared.h"
#include "nexar/rpc.h"
#include "nexar/stats.h"

#endif
