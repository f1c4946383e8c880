//! Edge and core as compositions of the engines, still pure
