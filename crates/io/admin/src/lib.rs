//! Status and commands over REST and the command line
