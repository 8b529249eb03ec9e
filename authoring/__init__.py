"""From one lesson text to notebooks and the students' release, and the audit that shows an exercise to be fair."""
