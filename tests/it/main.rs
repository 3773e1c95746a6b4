mod eval;
mod world;
