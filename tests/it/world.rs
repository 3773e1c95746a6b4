//! The emoji world as everyone else sees it: pinned, counted, and documented as it is.
