// hypot and hypotf as every glibc for x86-64 has them. Those of glibc 2.35, which a linker takes on a system that has them, compute the
// same, but a program that refers to them does not start on an older system. build.rs sends all calls here.
#ifdef __x86_64__

extern "C" {

__asm__(".symver untie_hypot, hypot@GLIBC_2.2.5");
__asm__(".symver untie_hypotf, hypotf@GLIBC_2.2.5");
double untie_hypot(double x, double y);
float untie_hypotf(float x, float y);

double __wrap_hypot(double x, double y) { return untie_hypot(x, y); }
float __wrap_hypotf(float x, float y) { return untie_hypotf(x, y); }
}

#endif
