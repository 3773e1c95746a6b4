mod eval;
mod golden;
mod world;
