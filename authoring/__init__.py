"""From one lesson text to notebooks, and the audit that shows an exercise to be fair."""
