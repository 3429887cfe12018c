"""What a picture and a sound are worth, as numbers. Pure; numpy only, in the device's own process only."""
