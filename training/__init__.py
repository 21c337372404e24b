"""Train and measure the network. Never imports rclpy; the node never imports this."""
