//! Which machine part computes: the only file that knows what this build was compiled for.
