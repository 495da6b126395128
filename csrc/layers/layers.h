/* layers: each has its file, which sees the engine; registry.c lists them. */
#ifndef FA_LAYERS_H
#define FA_LAYERS_H

#include "engine/engine.h"

#endif
