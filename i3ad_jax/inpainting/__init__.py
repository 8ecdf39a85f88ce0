"""The paper: masks, training losses, and the test-time loop; knows no network."""
