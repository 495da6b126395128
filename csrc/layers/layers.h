/* layers: one file for each layer; registry.c lists them. */
#ifndef FA_LAYERS_H
#define FA_LAYERS_H

#include "engine/engine.h"

#endif
