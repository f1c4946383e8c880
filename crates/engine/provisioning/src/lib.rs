//! Edge paths, get_edge_config, UDS, AXL and friends as documents
