"""What is chosen by how many rows there are, and by trying it on some of them."""
