// Stands for Gloo's; see algorithm.h.
#pragma once
